"""MQTT without the network: payloads to reports of meters, requests and commands to payloads."""
