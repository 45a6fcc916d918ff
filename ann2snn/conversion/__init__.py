"""Spiking neurons, their thresholds, and the replacement of activations by neurons."""
