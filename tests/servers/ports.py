"""Ports for programs that must be told theirs before they start."""

import itertools
import os
import socket

# Below the range from which the kernel gives ports to those who connect, which could take one
# before it is used.
FIRST = 20_000
NUMBER = 12_000
_numbers = itertools.count(os.getpid())
_claims: list[socket.socket] = []
"""An abstract socket for each port given away: the kernel ends it with this process."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free; no other worker or test run is given it."""
    for number in itertools.islice(_numbers, NUMBER):
        port = FIRST + number % NUMBER
        if _claim(port):
            return port
    raise OSError(f"no port from {FIRST} to {FIRST + NUMBER - 1} is free")


def _claim(port: int) -> bool:
    # The port itself cannot be held until the program that listens there has started.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0meterd-test-port-{port}")
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True
