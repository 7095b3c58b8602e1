"""The demonstration: a whole site on simulated meters, and the proof that everything in it is
right."""
