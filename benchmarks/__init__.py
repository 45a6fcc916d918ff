"""Which jobs make which table."""
