"""Whether a meter does what its standard says: named checks against a real one."""
