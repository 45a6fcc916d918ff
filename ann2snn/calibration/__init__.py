"""Activation statistics on calibration images."""
