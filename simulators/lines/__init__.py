"""Where the bytes of simulated meters travel, and the faults on the way."""
