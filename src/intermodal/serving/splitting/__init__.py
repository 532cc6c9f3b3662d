"""A service of this machine that has several models: a proxy that splits its requests, what it counts, and the processes behind it."""
