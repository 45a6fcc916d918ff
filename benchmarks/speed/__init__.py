"""Speed of the simulator: ratios measured in one run, in interleaved rounds, kept as records that name the machine."""
