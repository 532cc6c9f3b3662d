"""The platforms that runs are submitted to."""
