"""Which readings may be published."""
