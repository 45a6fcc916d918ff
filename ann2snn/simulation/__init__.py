"""Simulation of converted networks over T time steps."""
