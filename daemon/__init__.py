"""The running program: collects, checks, bills and controls."""
