"""Checkpoints of a training: written whole, kept, and gone on from."""
