"""A line behind a broker: what it asks through the gateway, and what it keeps of its messages."""
