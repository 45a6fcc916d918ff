"""Neurons, thresholds, and the replacement of activations by neurons."""
