"""Source networks and their activations."""
