"""The `fingerprint_sources` component."""
