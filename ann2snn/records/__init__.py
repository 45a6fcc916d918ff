"""Jobs and their records: one JSON file per job."""
