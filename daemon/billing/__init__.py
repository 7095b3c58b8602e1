"""From published readings to postings in integer fen."""
