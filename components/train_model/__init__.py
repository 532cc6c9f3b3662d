"""The `train_model` component."""
