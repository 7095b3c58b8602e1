"""A simulated meter that answers Modbus."""
