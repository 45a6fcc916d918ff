"""From any trained network to a folded graph with one named module per activation call."""
