"""Ways in from outside: the socket of this machine and its operations, HTTP."""
