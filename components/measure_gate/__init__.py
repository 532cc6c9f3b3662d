"""The `measure_gate` component."""
