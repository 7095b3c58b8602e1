"""Scenarios: a bench of simulated meters from a file, run and steered from outside."""
