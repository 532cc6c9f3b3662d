"""The files that people write, typed and validated."""
