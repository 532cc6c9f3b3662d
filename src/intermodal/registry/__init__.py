"""The model registry: MLflow's client, and the database of a local registry."""
