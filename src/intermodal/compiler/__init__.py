"""From a pipeline function to a compiled file."""
