"""Training of source networks."""
