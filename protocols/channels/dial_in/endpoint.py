"""The port at which terminals dial in: how many connections are taken, and how fast."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from protocols.channels.dial_in.events import DialInEvent
from protocols.channels.dial_in.session import Session, SessionOwner
from protocols.channels.streams import reason
from protocols.channels.tcp import keep_alive

BACKLOG: Final = 4096
"""Maximum of connections that wait in the kernel, which takes no more than net.core.somaxconn."""
ACCEPTS_AT_ONCE: Final = 100
"""Maximum of connections taken before the sessions that are there have their turn again."""
UNREGISTERED_PAUSE_S: Final = 0.1
"""Before looking again whether enough of the connections have registered."""
NO_DESCRIPTORS_PAUSE_S: Final = 1.0
"""After the system had no file descriptor left for a connection."""
NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
TIMER_SLACK_S: Final = 0.01
"""Added to a pause, so that the token is there after it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a listener takes; what is over the rate waits, what is over the number is refused.

    `accept_per_s`: connections, with a burst of one second's worth. `most_per_address`: connections
    of one address, which many terminals may share behind a carrier's NAT. `silent_s`: a session
    without a byte for so long is closed; 0: never. `challenge_s`: so long the session of a terminal
    may take to answer when another caller says the same id; then the caller has its place.
    `most_unregistered`: connections that have not registered; for the next one the oldest has to
    go, after `left_s`: whoever calls and says nothing must not keep all others out.
    `most_unknown_open`: connections of unknown terminals left open: one that is hung up on calls
    again at once. `closing_s`: the wait for the connections to end when the listener closes.
    """

    accept_per_s: float = 500.0
    most_per_address: int = 64
    registration_timeout_s: float = 30.0
    silent_s: float = 300.0
    challenge_s: float = 11.0
    most_unregistered: int = 1024
    left_s: float = 3.0
    most_unknown_open: int = 256
    most_quarantined: int = 1000
    closing_s: float = 5.0


DEFAULT_LIMITS: Final = Limits()


class AcceptRate:
    """A token bucket.

    The rate may change from call to call; the burst is one second of it, or a single
    connection.
    """

    __slots__ = ("_filled_at", "_tokens")

    def __init__(self, per_s: float, now: float) -> None:
        self._tokens = max(1.0, per_s)
        self._filled_at = now

    def wait_s(self, per_s: float, now: float) -> float:
        """Seconds until a connection may be taken, 0 when one may be taken now."""
        refilled = self._tokens + (now - self._filled_at) * per_s
        self._tokens = min(max(1.0, per_s), refilled)
        self._filled_at = now
        if self._tokens >= 1:
            return 0.0
        return (1 - self._tokens) / per_s + TIMER_SLACK_S

    def take(self) -> None:
        """A connection was taken."""
        self._tokens -= 1


class Endpoint:
    """The listening sockets of one port; a connection that is taken becomes a session of `owner`.

    `port` 0 is replaced by the one that the system gave when it is opened.
    """

    def __init__(
        self,
        owner: SessionOwner,
        listen: tuple[str, int],
        limits: Limits,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.host, self.port = listen
        self.limits = limits
        """May be changed while connections are taken."""
        self._owner = owner
        self._events = owner.events
        self._tls = tls
        self._listening_sockets: list[socket.socket] = []
        self._connections_of: Counter[str] = Counter()
        """By address."""
        self._last_number = 0
        self._admissions: set[asyncio.Task[None]] = set()
        self._rate = AcceptRate(limits.accept_per_s, 0.0)
        self._pause: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    async def open(self) -> None:
        """Listen on every address of the host. OSError when the port cannot be had."""
        self._loop = asyncio.get_running_loop()
        addresses = await self._loop.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, kind, number, _, address in dict.fromkeys(addresses):
                self._listen(socket.socket(family, kind, number), address)
        except BaseException:
            self._close_listening_sockets()
            raise
        self._rate = AcceptRate(self.limits.accept_per_s, self._loop.time())
        self._resume()

    async def close(self) -> None:
        """Take no more connections, and give up those whose TLS handshake is under way."""
        self._stop_accepting()
        if self._pause is not None:
            self._pause.cancel()
        self._close_listening_sockets()
        for admission in self._admissions:
            admission.cancel()
        await asyncio.gather(*self._admissions, return_exceptions=True)

    def release(self, address: str) -> None:
        """A connection of this address is gone: it may have another one."""
        self._connections_of[address] -= 1
        if not self._connections_of[address]:
            del self._connections_of[address]

    # --- listening

    def _listen(self, listening: socket.socket, address: tuple[Any, ...]) -> None:
        self._listening_sockets.append(listening)
        listening.setblocking(False)
        # Connections of a former process in TIME_WAIT do not hold the port.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            # IPv4 has a socket of its own.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Port 0 is one and the same port on all addresses: the one the first of them got.
        listening.bind((address[0], self.port, *address[2:]))
        listening.listen(BACKLOG)
        self.port = listening.getsockname()[1]

    def _close_listening_sockets(self) -> None:
        for listening in self._listening_sockets:
            listening.close()

    def _resume(self) -> None:
        self._pause = None
        for listening in self._listening_sockets:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _stop_accepting(self) -> None:
        """Leave connections in the backlog."""
        for listening in self._listening_sockets:
            self._loop.remove_reader(listening.fileno())

    def _pause_accepting(self, pause_s: float) -> None:
        self._stop_accepting()
        if self._pause is None:
            self._pause = self._loop.call_later(pause_s, self._resume)

    # --- accepting

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            pause_s = self._wait_s()
            if pause_s > 0:
                self._events.count(DialInEvent.ACCEPT_PAUSED)
                self._pause_accepting(pause_s)
                return
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in NO_DESCRIPTORS:
                    self._report_no_descriptors(error)
                    self._pause_accepting(NO_DESCRIPTORS_PAUSE_S)
                    return
                continue  # it went away while it waited
            self._rate.take()
            self._admit(connection, address[0])

    def _wait_s(self) -> float:
        """Seconds until the next connection may be taken."""
        wait_s = self._rate.wait_s(self.limits.accept_per_s, self._loop.time())
        return wait_s if self._owner.may_accept() else UNREGISTERED_PAUSE_S

    def _report_no_descriptors(self, error: OSError) -> None:
        detail = f"{reason(error)}; {self._connections_of.total()} connections are open"
        self._events.report(DialInEvent.NO_DESCRIPTORS, "", detail)

    def _admit(self, connection: socket.socket, address: str) -> None:
        self._events.count(DialInEvent.ACCEPTED)
        most = self.limits.most_per_address
        if self._connections_of[address] >= most:
            connection.close()
            detail = f"{address} has {most} connections already"
            self._events.report(DialInEvent.REFUSED_ADDRESS, "", detail)
            return
        self._connections_of[address] += 1
        self._last_number += 1
        session = Session(
            self._owner, address, self._last_number, self._loop.time(), datetime.now(UTC)
        )
        self._owner.connection_accepted(session)
        admission = self._loop.create_task(self._connect(connection, session))
        self._admissions.add(admission)
        admission.add_done_callback(partial(self._admitted, connection, session))

    async def _connect(self, connection: socket.socket, session: Session) -> None:
        try:
            connection.setblocking(False)
            keep_alive(connection)
            # While bytes of ours are unacknowledged the kernel does not keep alive.
            if self.limits.silent_s:
                user_timeout_ms = max(1, int(self.limits.silent_s * 1000))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)
            await self._loop.connect_accepted_socket(
                lambda: session,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self.limits.registration_timeout_s if self._tls else None,
            )
        except OSError as error:
            if self._tls is not None:
                detail = f"{session.address}: {reason(error)}"
                self._events.report(DialInEvent.TLS_FAILED, "", detail)

    def _admitted(
        self, connection: socket.socket, session: Session, admission: asyncio.Task[None]
    ) -> None:
        """The connection is made, or is not."""
        self._admissions.discard(admission)
        if session.transport is None:
            connection.close()
        # A cancelled admission may not even have begun, and uvloop tells no end of its connection.
        if session.transport is None or admission.cancelled():
            self._owner.connection_lost(session)
