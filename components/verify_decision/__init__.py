"""The `verify_decision` component."""
