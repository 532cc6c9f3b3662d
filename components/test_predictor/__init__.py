"""The `test_predictor` component."""
