"""The `materialize_features` component."""
