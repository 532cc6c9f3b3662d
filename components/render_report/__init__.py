"""The `render_report` component."""
