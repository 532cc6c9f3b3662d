"""The model of a training, from raw columns to the exported graph, and the hyperparameters that shape it."""
