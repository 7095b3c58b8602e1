"""Ports for programs that must be told theirs before they start."""

import itertools
import os
import socket

# Below the range from which the kernel gives ports to those who connect, which could take one
# before it is used.
FIRST = 20_000
OF_A_WORKER = 1_000
_numbers = itertools.count(os.getpid())


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free; no other worker of this test run is given it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST + OF_A_WORKER * worker
    for number in itertools.islice(_numbers, OF_A_WORKER):
        port = first + number % OF_A_WORKER
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise OSError(f"no port from {first} on is free")
