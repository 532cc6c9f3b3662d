"""The model registry: MLflow's client, and its database in a file."""
