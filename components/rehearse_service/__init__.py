"""The `rehearse_service` component."""
