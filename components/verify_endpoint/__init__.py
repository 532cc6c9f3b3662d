"""The `verify_endpoint` component."""
