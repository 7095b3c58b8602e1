"""How a simulated meter answers DL/T 645."""
