"""Modbus RTU and TCP with pymodbus's framers and PDUs; register profiles and reads by them."""
