"""A bill of a month as files that anybody can verify without our code."""
