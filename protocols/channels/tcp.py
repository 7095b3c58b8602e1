"""A line behind a TCP server: a serial-to-Ethernet converter, a concentrator in transparent mode, a simulator."""

from __future__ import annotations

import asyncio
import socket

from protocols.channels.streams import StreamChannel, reason
from protocols.errors import LineDown


class TcpChannel(StreamChannel):
    """We connect to HOST:PORT. A peer that vanishes without a word is noticed by TCP keep-alive."""

    def __init__(self, host: str, port: int, connect_timeout_s: float = 5.0) -> None:
        super().__init__(f"tcp {host}:{port}")
        self._host, self._port, self._connect_timeout_s = host, port, connect_timeout_s

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                reader, writer = await asyncio.open_connection(self._host, self._port)
        except TimeoutError:
            raise LineDown(f"{self.name}: no connection within {self._connect_timeout_s:g} s") from None
        except OSError as error:
            raise LineDown(f"{self.name}: cannot connect: {reason(error)}") from error
        except UnicodeError:
            raise LineDown(f"{self.name}: is no host name") from None
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return reader, writer
