"""Modbus: RTU, RTU over TCP and TCP, with pymodbus's framers and PDUs; register profiles and what
is read by them."""
