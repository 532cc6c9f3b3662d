"""The `retrieve_features` component."""
