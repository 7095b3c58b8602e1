"""Ports for programs that must be told theirs before they start."""

import random
import socket

# Below the range from which the kernel gives ports to those who connect: one of them would take it
# before it is used.
PORTS = range(10_000, 20_000)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens at. OSError: there is none."""
    for port in random.sample(PORTS, len(PORTS)):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise OSError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")
