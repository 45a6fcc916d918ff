"""Synaptic operations, energy, significance."""
