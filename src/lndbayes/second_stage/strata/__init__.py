"""Effects by stratum of need."""
