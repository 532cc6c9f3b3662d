"""The `transform_tables` component."""
