"""How long a test waits for another process or thread before it fails."""

LIMIT = 600  # seconds
