"""The demonstration: a whole site on simulated meters, and the proof that all of it is right."""
