"""Turns trained networks into folded graphs with one named module per activation call."""
