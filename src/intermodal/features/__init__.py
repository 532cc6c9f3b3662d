"""Feast: repositories, the offline store with ASOF joins, the registry file."""
