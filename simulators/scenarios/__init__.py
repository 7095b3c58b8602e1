"""Scenarios that are shipped: `bench.toml` is a newcomer's test bench."""
