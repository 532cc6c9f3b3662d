"""The `tune_model` component."""
