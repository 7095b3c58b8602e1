"""The socket that paho works on: connected, with TLS where asked for, and never blocking."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from protocols.channels.tls import client_tls

READ_SIZE: Final = 64 * 1024
"""More than a TLS record holds (16 KiB): after a read nothing is decrypted that the event loop does
not see."""
MOST_UNSENT: Final = 256 * 1024
"""Maximum of bytes that wait to be sent; then paho keeps the rest."""
NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket raises instead of waiting."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the authority of the broker's certificate, our own certificate and its key."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and who we are there.

    With `keep_session` the broker keeps our session under `client_id`. `will`: (topic, payload)
    that the broker publishes, retained, when we vanish. `session_expiry_s` is for MQTT 5; with
    3.1.1 the broker decides how long it keeps what came while we were away.
    """

    host: str
    port: int
    client_id: str
    version: Literal["3.1.1", "5"] = "5"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    keepalive_s: int = 30
    connect_timeout_s: float = 10.0
    keep_session: bool = True
    session_expiry_s: int = 7 * 24 * 3600
    will: tuple[str, bytes] | None = None

    @property
    def name(self) -> str:
        """What error texts call it."""
        return f"mqtt{'s' if self.tls else ''} {self.host}:{self.port}"


class BufferedSocket:
    """What paho takes for a socket.

    It reads and writes the buffers; `fill` and `flush` go to the network.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.is_closed = False
        self._socket = connected
        self._received = memoryview(b"")
        self._at = 0
        self._has_ended = False
        self._unsent = bytearray()

    @property
    def has_unread(self) -> bool:
        """True while paho has something to read, or an end to notice."""
        return not self.is_closed and (self._at < len(self._received) or self._has_ended)

    def fill(self) -> None:
        """Take what the network has."""
        unread = bytes(self._received[self._at :])
        try:
            data = self._socket.recv(READ_SIZE)
        except NOT_NOW:
            return
        except OSError:
            data = b""
        self._has_ended = not data
        self._received = memoryview(unread + data)
        self._at = 0

    def flush(self) -> bool:
        """Give the network what waits; False when it does not take all of it now."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except NOT_NOW:
            return False
        return True

    def recv(self, size: int) -> bytes:
        """See socket.socket; BlockingIOError when nothing is there."""
        piece = self._received[self._at : self._at + size]
        if not piece:
            if self._has_ended:
                return b""
            raise BlockingIOError
        self._at += len(piece)
        return bytes(piece)

    def send(self, data: bytes) -> int:
        """See socket.socket; BlockingIOError when too much waits already."""
        if len(self._unsent) > MOST_UNSENT:
            raise BlockingIOError
        self._unsent += data
        return len(data)

    def close(self) -> None:
        """Send what still waits, if the network takes it at once."""
        if self.is_closed:
            return
        self.is_closed = True
        with suppress(OSError):  # the other end is gone, and with it the one who wanted this
            self.flush()
        self._socket.close()

    def fileno(self) -> int:
        """See socket.socket."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""


async def open_socket(broker: Broker) -> socket.socket:
    """Connected, and greeted with TLS where that is asked for. OSError when it fails."""
    loop = asyncio.get_running_loop()
    last_error: OSError | None = None
    for family, kind, number, _, address in await loop.getaddrinfo(
        broker.host, broker.port, type=socket.SOCK_STREAM
    ):
        plain = socket.socket(family, kind, number)
        try:
            plain.setblocking(False)
            await loop.sock_connect(plain, address)
            # A PUBACK is 4 bytes and must not wait for more.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return await _greet(plain, broker) if broker.tls else plain
        except OSError as error:
            plain.close()
            last_error = error
        except BaseException:
            plain.close()
            raise
    raise last_error or OSError(f"{broker.host} has no address")


async def _greet(plain: socket.socket, broker: Broker) -> ssl.SSLSocket:
    assert broker.tls is not None
    context = client_tls(broker.tls.ca, broker.tls.certificate, broker.tls.key)
    # Not in the call: it would block the event loop until the broker answers.
    secure = context.wrap_socket(plain, server_hostname=broker.host, do_handshake_on_connect=False)
    loop = asyncio.get_running_loop()
    try:
        while True:
            try:
                secure.do_handshake()
            except ssl.SSLWantReadError:
                await _until_ready(secure.fileno(), loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _until_ready(secure.fileno(), loop.add_writer, loop.remove_writer)
            else:
                return secure
    except BaseException:
        secure.close()
        raise


async def _until_ready(
    number: int, watch: Callable[..., None], leave: Callable[[int], bool]
) -> None:
    """Wait once for a file descriptor."""
    ready = asyncio.Event()
    watch(number, ready.set)
    try:
        await ready.wait()
    finally:
        leave(number)
