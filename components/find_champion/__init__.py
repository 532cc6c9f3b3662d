"""The `find_champion` component."""
