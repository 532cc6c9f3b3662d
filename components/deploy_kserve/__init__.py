"""The `deploy_kserve` component."""
