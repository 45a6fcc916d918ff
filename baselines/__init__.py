"""Rival conversion methods. Every file of this folder is imported, and registers its methods."""
