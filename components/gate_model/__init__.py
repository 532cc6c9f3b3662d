"""The `gate_model` component."""
