"""Processes that are started ahead, one for each image of a run: they import what its tasks import, and fork a child for each task."""
