"""Registrations and heartbeats of terminals that dial in: a codec like the others, no I/O."""
