"""The judge of a rollout: from the counts of both models over the same span to a verdict. No I/O, no clock, no platform."""
