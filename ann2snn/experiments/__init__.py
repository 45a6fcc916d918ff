"""Jobs, sweeps, and the checks of their records."""
