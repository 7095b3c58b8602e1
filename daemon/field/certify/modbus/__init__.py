"""The suite for Modbus meters and slaves."""
