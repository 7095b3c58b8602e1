"""A line behind a broker: its requests through the gateway, and what it keeps of messages."""
