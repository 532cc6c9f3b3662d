"""The `require_valid_data` component."""
