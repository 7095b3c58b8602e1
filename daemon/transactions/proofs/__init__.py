"""What proves bills, read for many accounts at once."""
