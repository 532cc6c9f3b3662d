"""The `ask_service` component."""
