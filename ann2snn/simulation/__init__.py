"""T time steps of a converted network."""
