"""The predictor: the server, what it checks, and the models served on this machine."""
