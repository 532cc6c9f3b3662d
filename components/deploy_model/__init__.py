"""The `deploy_model` component."""
