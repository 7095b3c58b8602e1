"""MQTT without the network: payloads and topics to what meters tell, and questions and commands to
payloads."""
