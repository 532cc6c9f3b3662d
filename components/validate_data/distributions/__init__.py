"""Whether two samples of a feature are of one distribution, and what has happened to one that is not."""
