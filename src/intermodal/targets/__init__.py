"""Targets: the platforms a pipeline is compiled for or run on."""
