"""Generated pages."""
