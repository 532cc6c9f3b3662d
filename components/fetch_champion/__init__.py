"""The `fetch_champion` component."""
