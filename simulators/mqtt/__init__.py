"""Simulated meters behind an MQTT gateway."""
