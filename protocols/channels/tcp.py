"""A line behind a TCP server: a serial-to-Ethernet converter, a transparent concentrator."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from protocols.channels.streams import StreamChannel, reason
from protocols.errors import LineDown

KEEP_ALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""A peer that vanished without a word is noticed after two minutes of silence."""
UNACKNOWLEDGED_MS: Final = 120_000
"""The same while a request is under way: then the kernel does not keep alive, it repeats for a
quarter of an hour."""


class TcpChannel(StreamChannel):
    """We connect to HOST:PORT. A peer that vanishes without a word is noticed by TCP keep-alive."""

    __slots__ = ("_connect_timeout_s", "_host", "_port")

    def __init__(self, host: str, port: int, connect_timeout_s: float = 5.0) -> None:
        super().__init__(f"tcp {host}:{port}")
        self._host = host
        self._port = port
        self._connect_timeout_s = connect_timeout_s

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, _ = await loop.create_connection(lambda: self, self._host, self._port)
        except TimeoutError:
            raise LineDown(
                f"{self.name}: no connection within {self._connect_timeout_s:g} s"
            ) from None
        except OSError as error:
            raise LineDown(f"{self.name}: cannot connect: {reason(error)}") from error
        except UnicodeError:
            raise LineDown(f"{self.name}: is no host name") from None
        keep_alive(transport.get_extra_info("socket"))


def keep_alive(connection: socket.socket) -> None:
    """Let the kernel notice a peer that is gone, and send small frames at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A request is some 16 bytes: Nagle's algorithm would keep it until the last is acknowledged.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    for option, value in KEEP_ALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
