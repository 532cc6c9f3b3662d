"""Components: one folder each, the contract in `component.py`, the logic beside it."""
