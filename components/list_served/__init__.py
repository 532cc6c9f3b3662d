"""The `list_served` component."""
