"""Where the counts of both models come from."""
