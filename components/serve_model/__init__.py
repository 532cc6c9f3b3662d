"""The `serve_model` component."""
