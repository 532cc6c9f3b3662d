"""The `ingest_tables` component."""
