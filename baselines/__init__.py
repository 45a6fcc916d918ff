"""Rival conversion methods, one file each, found by their path."""
