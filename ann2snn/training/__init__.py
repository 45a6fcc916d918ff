"""Training and import of source networks."""
