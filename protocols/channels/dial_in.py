"""Terminals that dial in: DTUs and concentrators are TCP clients, and each of them is a line.

One listener serves many terminals. A connection is a session once it said who it is; a line opens
the channel of its terminal and has the newest session of it, whenever that comes."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Final, Self, cast

from protocols.channels.streams import StreamChannel, reason
from protocols.channels.tcp import keep_alive
from protocols.dial_in.registration import (
    HOLD_S,
    LONGEST_REGISTRATION,
    HeartbeatFilter,
    RegistrationSettings,
)
from protocols.errors import LineDown

BACKLOG: Final = 4096
"""So many connections wait in the kernel; it takes no more than net.core.somaxconn."""
ACCEPTS_AT_ONCE: Final = 100
"""So many connections are taken before the sessions that are there have their turn again."""
MOST_UNREGISTERED: Final = 1024
"""So many connections that have not said who they are; the next ones wait in the backlog."""
MOST_UNKNOWN_OPEN: Final = 256
"""So many connections of unknown terminals are left open: one that is hung up on calls again at
once."""
MOST_QUARANTINED: Final = 1000
MOST_UNREAD: Final = 4096
"""So many bytes of a session that no line has opened are kept; then those before are dropped."""
MOST_UNSENT: Final = 64 * 1024
"""So many bytes of answers to heartbeats that a terminal does not read; then it is hung up on."""
NO_DESCRIPTORS_PAUSE_S: Final = 1.0
"""After the system had no file descriptor left for a connection."""
NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
LONGEST_SWEEP_PERIOD_S: Final = 5.0
CLOSING_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a listener takes. `accept_per_s`: connections, with a burst of one second's worth; the
    others wait. `most_per_address`: connections of one address; many terminals may share one behind
    a carrier's NAT. `silent_s`: a session without a byte for so long is closed; 0: never."""

    accept_per_s: float = 500.0
    most_per_address: int = 64
    registration_timeout_s: float = 30.0
    silent_s: float = 300.0


@dataclass(slots=True)
class Counts:
    """What happened since the listener was opened. `accept_pauses`: how often connections had to
    wait for the rate limit, for those before them to register, or (`no_descriptors`) for the
    system."""

    accepted: int = 0
    registered: int = 0
    replaced: int = 0
    outdated: int = 0
    unknown: int = 0
    refused_address: int = 0
    accept_pauses: int = 0
    no_descriptors: int = 0
    registration_timeouts: int = 0
    silent_closed: int = 0
    tls_failed: int = 0
    heartbeats: int = 0


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Somebody who called and is no line. `terminal` is empty when it did not say who it is."""

    terminal: str
    address: str
    first_seen: datetime
    last_seen: datetime
    times: int
    why: str


OnEvent = Callable[[str, str, str], None]
"""(kind, terminal or "", detail). Kinds: registered, replaced, closed, silent, unknown,
not_registered, refused_address, tls_failed, no_descriptors."""


class Terminals:
    """A listener and the sessions of its terminals; binds in `async with`. `known`: the ids of
    those that are lines."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        greetings: RegistrationSettings,
        *,
        known: Iterable[str] = (),
        limits: Limits = Limits(),
        tls: ssl.SSLContext | None = None,
        on_event: OnEvent = lambda kind, terminal, detail: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name, self.host, self.port = name, host, port
        self.greetings, self.limits, self.on_event = greetings, limits, on_event
        self.counts = Counts()
        self.sessions: dict[str, Session] = {}
        """The registered ones, by the id of their terminal."""
        self.quarantine: OrderedDict[str, Quarantined] = OrderedDict()
        """By id, or by address where there is none; the newest last."""
        self.unregistered: set[Session] = set()
        self._known = frozenset(known)
        self._unknown: OrderedDict[str, Session] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[Session]] = {}
        self._open: set[Session] = set()
        self._of_address: Counter[str] = Counter()
        self._gates: list[socket.socket] = []
        self._tls, self._now = tls, now
        self._admissions: set[asyncio.Task[None]] = set()
        self._last_number = 0
        self._tokens, self._filled_at = 0.0, 0.0
        self._pause: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop

    def channel(self, terminal: str) -> TerminalChannel:
        """The channel of one terminal's line. Opening it waits until the terminal is there, however
        long that takes."""
        return TerminalChannel(self, terminal)

    def allow(self, known: Iterable[str]) -> None:
        """From now on these are lines. One that waits in quarantine gets its session at once; the
        session of one that is no line any more ends."""
        self._known = frozenset(known)
        for terminal in [terminal for terminal in self._unknown if terminal in self._known]:
            self._register(self._unknown.pop(terminal))
        for terminal in [terminal for terminal in self.quarantine if terminal in self._known]:
            del self.quarantine[terminal]
        for terminal in [terminal for terminal in self.sessions if terminal not in self._known]:
            self.sessions[terminal].end("taken out of the list of terminals")

    async def __aenter__(self) -> Self:
        """LineDown when the port cannot be had."""
        self._loop = asyncio.get_running_loop()
        try:
            self._gates = await self._bind()
        except OSError as error:
            raise LineDown(
                f"listener {self.name}: cannot listen on {self.host}:{self.port}: {reason(error)}"
            ) from error
        self._tokens, self._filled_at = self._burst, self._loop.time()
        self._resume()
        self._sweep()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._rest()
        for timer in (self._pause, self._sweeping):
            if timer is not None:
                timer.cancel()
        for gate in self._gates:
            gate.close()
        for admission in self._admissions:
            admission.cancel()
        await asyncio.gather(*self._admissions, return_exceptions=True)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LineDown(f"listener {self.name} is closed"))
        if not self._open:
            return
        self._emptied = self._loop.create_future()
        for session in list(self._open):
            session.end(f"listener {self.name} is closed")
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await self._emptied

    # --- accepting
    # --------------------------------------------------------------------------------------------------

    async def _bind(self) -> list[socket.socket]:
        gates: list[socket.socket] = []
        try:
            for family, kind, number, _, address in dict.fromkeys(
                await self._loop.getaddrinfo(
                    self.host,
                    self.port,
                    type=socket.SOCK_STREAM,
                    flags=socket.AI_PASSIVE,
                )
            ):
                gate = socket.socket(family, kind, number)
                gates.append(gate)
                gate.setblocking(False)
                gate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    gate.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                gate.bind((address[0], self.port, *address[2:]))
                gate.listen(BACKLOG)
                self.port = gate.getsockname()[1]
        except BaseException:
            for gate in gates:
                gate.close()
            raise
        return gates

    def _resume(self) -> None:
        self._pause = None
        for gate in self._gates:
            self._loop.add_reader(gate.fileno(), self._accept, gate)

    def _rest(self, pause_s: float | None = None) -> None:
        """Leave connections in the backlog, for so long if that is said."""
        for gate in self._gates:
            self._loop.remove_reader(gate.fileno())
        if self._pause is None and pause_s is not None:
            self._pause = self._loop.call_later(pause_s, self._resume)

    def _accept(self, gate: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            if (pause_s := self._wait_s()) > 0:
                self.counts.accept_pauses += 1
                self._rest(pause_s)
                return
            try:
                connection, address = gate.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in NO_DESCRIPTORS:
                    self.counts.no_descriptors += 1
                    self.on_event(
                        "no_descriptors",
                        "",
                        f"{reason(error)}; {len(self._open)} connections are open",
                    )
                    self._rest(NO_DESCRIPTORS_PAUSE_S)
                    return
                continue  # it went away while it waited
            self._tokens -= 1
            self._admit(connection, address[0])

    @property
    def _burst(self) -> float:
        return max(1.0, self.limits.accept_per_s)

    def _wait_s(self) -> float:
        """Until the next connection may be taken."""
        now = self._loop.time()
        self._tokens = min(
            self._burst, self._tokens + (now - self._filled_at) * self.limits.accept_per_s
        )
        self._filled_at = now
        if len(self.unregistered) >= MOST_UNREGISTERED:
            return 0.1
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self.limits.accept_per_s + 0.01

    def _admit(self, connection: socket.socket, address: str) -> None:
        self.counts.accepted += 1
        if self._of_address[address] >= self.limits.most_per_address:
            connection.close()
            self.counts.refused_address += 1
            self.on_event(
                "refused_address",
                "",
                f"{address} has {self.limits.most_per_address} connections already",
            )
            return
        self._of_address[address] += 1
        self._last_number += 1
        session = Session(self, address, self._last_number, self._loop.time())
        self._open.add(session)
        self.unregistered.add(session)
        admission = self._loop.create_task(self._connect(connection, session))
        self._admissions.add(admission)
        admission.add_done_callback(partial(self._admitted, connection, session))

    def _admitted(
        self, connection: socket.socket, session: Session, admission: asyncio.Task[None]
    ) -> None:
        """It is connected, or not. Cancelled, it may not even have begun, and uvloop tells no end
        of its connection."""
        self._admissions.discard(admission)
        if session.transport is None:
            connection.close()
        if session.transport is None or admission.cancelled():
            self.lost(session)

    async def _connect(self, connection: socket.socket, session: Session) -> None:
        try:
            connection.setblocking(False)
            keep_alive(connection)
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
                self.counts.tls_failed += 1
                self.on_event("tls_failed", "", f"{session.address}: {reason(error)}")

    # --- what sessions tell
    # -----------------------------------------------------------------------------------------

    def introduced(self, session: Session) -> None:
        """A connection said who it is."""
        self.unregistered.discard(session)
        if session.terminal in self._known:
            self._register(session)
            return
        session.said = b""
        self.counts.unknown += 1
        self._note(session, "not in the list of terminals")
        self.on_event("unknown", session.terminal, session.address)
        if (older := self._unknown.pop(session.terminal, None)) is not None:
            older.end("replaced by a newer session of the same terminal")
        if len(self._unknown) < MOST_UNKNOWN_OPEN:
            self._unknown[session.terminal] = session
        else:
            session.end("unknown terminal")

    def lost(self, session: Session) -> None:
        """A connection is gone."""
        if session not in self._open:
            return
        self._open.discard(session)
        self.unregistered.discard(session)
        self._of_address[session.address] -= 1
        if not self._of_address[session.address]:
            del self._of_address[session.address]
        for sessions in (self.sessions, self._unknown):
            if sessions.get(session.terminal) is session:
                del sessions[session.terminal]
                if sessions is self.sessions and self._emptied is None:
                    self.on_event("closed", session.terminal, session.address)
        if self._emptied is not None and not self._open:
            self._emptied.set_result(None)

    def nonsense(self, session: Session, said: bytes) -> None:
        """A connection said no registration, or not in time."""
        self.unregistered.discard(session)
        self.counts.registration_timeouts += 1
        why = f"no registration, but {said[:32].hex(' ').upper()}" if said else "said nothing"
        self._note(session, why)
        self.on_event("not_registered", "", f"{session.address}: {why}")
        session.end(why)

    async def session_of(self, terminal: str) -> Session:
        """The newest session of a terminal, as soon as there is one that is free. LineDown when the
        listener closes."""
        present = self.sessions.get(terminal)
        if present is not None and present.is_free:
            return present
        assert terminal not in self._waiting, "two lines have one terminal"
        waiting: asyncio.Future[Session] = self._loop.create_future()
        self._waiting[terminal] = waiting
        try:
            return await waiting
        finally:
            del self._waiting[terminal]

    def _register(self, session: Session) -> None:
        terminal = session.terminal
        present = self.sessions.get(terminal)
        if present is not None and not present.is_over:
            if present.number > session.number:
                self.counts.outdated += 1
                session.end("older than the session that the terminal has")
                return
            self.counts.replaced += 1
            self.on_event("replaced", terminal, f"{present.address} by {session.address}")
            present.end("replaced by a newer session of the same terminal")
        self.sessions[terminal] = session
        self.counts.registered += 1
        session.registered(HeartbeatFilter(self.greetings, terminal))
        self.on_event("registered", terminal, session.address)
        waiting = self._waiting.get(terminal)
        if waiting is not None and not waiting.done():
            waiting.set_result(session)

    def _note(self, session: Session, why: str) -> None:
        key = session.terminal or session.address
        now = self._now()
        seen = self.quarantine.pop(key, None)
        if seen is None:
            seen = Quarantined(
                session.terminal,
                session.address,
                now,
                now,
                0,
                why,
            )
        self.quarantine[key] = replace(
            seen,
            address=session.address,
            last_seen=now,
            times=seen.times + 1,
            why=why,
        )
        if len(self.quarantine) > MOST_QUARANTINED:
            self.quarantine.popitem(last=False)

    def _sweep(self) -> None:
        """End what was silent for too long: one look at all of them instead of a timer for each."""
        limits, now = self.limits, self._loop.time()
        for session in [
            it for it in self.unregistered if now - it.since > limits.registration_timeout_s
        ]:
            self.nonsense(session, session.said)
        if limits.silent_s:
            quiet_since = now - limits.silent_s
            for session in [
                it for it in self._open if it.heard_at < quiet_since and not it.is_over
            ]:
                self.counts.silent_closed += 1
                self.on_event("silent", session.terminal, session.address)
                session.end(f"silent for {now - session.heard_at:.0f} s")
        shortest = min(
            limits.registration_timeout_s, limits.silent_s or limits.registration_timeout_s
        )
        self._sweeping = self._loop.call_later(
            min(LONGEST_SWEEP_PERIOD_S, shortest / 4), self._sweep
        )


class Session(asyncio.Protocol):
    """One connection, from its first byte on. `terminal` is empty until it said who it is; `number`
    counts accepted connections, so that of two sessions of one terminal the newer is known."""

    __slots__ = (
        "_settling", "_sieve", "_terminals", "address", "channel", "heard_at", "heartbeats", "is_over", "number",
        "said", "since", "terminal", "transport",
    )  # fmt: skip

    def __init__(
        self,
        terminals: Terminals,
        address: str,
        number: int,
        now: float,
    ) -> None:
        self._terminals, self.address, self.number = terminals, address, number
        self.since = self.heard_at = now
        self.terminal = ""
        self.heartbeats = 0
        self.is_over = False
        self.said = b""
        """What nobody took yet: an incomplete registration, then bytes for a line that has not
        opened its channel."""
        self.transport: asyncio.Transport | None = None
        self.channel: TerminalChannel | None = None
        self._sieve: HeartbeatFilter | None = None
        self._settling: asyncio.TimerHandle | None = None

    @property
    def is_free(self) -> bool:
        """Can a line have it? Not when one had it already: leaving the channel closes it."""
        return self.channel is None and not self.is_over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The terminal is connected; nobody knows yet who it is."""
        self.transport = cast(asyncio.Transport, transport)
        if self.is_over:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came: of its registration, heartbeats, or for the line."""
        if self.is_over:
            return
        self.heard_at = asyncio.get_running_loop().time()
        if self._sieve is not None:
            self._hear(data)
        elif not self.terminal:
            self._introduce(self.said + data)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone: the line that used it hears so."""
        self._stop_settling()
        self.is_over = True
        self._terminals.lost(self)
        if self.channel is not None:
            self.channel.connection_lost(error)

    def pause_writing(self) -> None:
        """The carrier takes no more for the moment."""
        if self.channel is not None:
            self.channel.pause_writing()

    def resume_writing(self) -> None:
        """It takes again."""
        if self.channel is not None:
            self.channel.resume_writing()

    def end(self, why: str) -> None:
        """Hang up at once. No byte comes from here any more, and none that waits to be sent
        leaves."""
        self.is_over = True
        self._stop_settling()
        if self.channel is not None:
            self.channel.lose(f"{self.channel.name}: {why}")
        if self.transport is not None:
            self.transport.abort()

    # --- registered
    # -------------------------------------------------------------------------------------------------

    def registered(self, sieve: HeartbeatFilter) -> None:
        """It is a line's terminal: from now on heartbeats are taken out and the rest goes to the
        line."""
        self._sieve = sieve
        self._say(self._terminals.greetings.registration_answer)
        said, self.said = self.said, b""
        if said:
            self._hear(said)

    def carry(self, channel: TerminalChannel) -> None:
        """Be the carrier of this channel, which gets what came before it too."""
        assert self.transport is not None
        self.channel = channel
        channel.connection_made(self.transport)
        said, self.said = self.said, b""
        if said:
            channel.data_received(said)

    def asked(self) -> None:
        """The line is about to send a question."""
        if self._sieve is not None and not self.is_over:
            if self._settling is not None:
                self._settle()
            self._sieve.asked()

    def _introduce(self, said: bytes) -> None:
        found = self._terminals.greetings.read(said)
        if found is not None:
            self.terminal, end = found
            self.said = said[end:]
            self._terminals.introduced(self)
        elif len(said) >= LONGEST_REGISTRATION:
            self._terminals.nonsense(self, said)
        else:
            self.said = said

    def _hear(self, data: bytes) -> None:
        assert self._sieve is not None
        self._stop_settling()
        rest, beats = self._sieve.feed(data, self.heard_at)
        if self._sieve.held:
            self._settling = asyncio.get_running_loop().call_later(HOLD_S, self._settle)
        self._pass_on(rest, beats)

    def _settle(self) -> None:
        assert self._sieve is not None
        self._stop_settling()
        self._pass_on(*self._sieve.settle())

    def _pass_on(self, rest: bytes, beats: list[bytes]) -> None:
        for beat in beats:
            self.heartbeats += 1
            self._terminals.counts.heartbeats += 1
            self._say(self._terminals.greetings.answer(beat))
        if not rest or self.is_over:
            return
        if self.channel is not None:
            self.channel.data_received(rest)
        else:
            self.said = rest if len(self.said) + len(rest) > MOST_UNREAD else self.said + rest

    def _say(self, answer: bytes) -> None:
        if not answer or self.transport is None or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() > MOST_UNSENT:
            self.end("takes no answers")
        else:
            self.transport.write(answer)

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None


class TerminalChannel(StreamChannel):
    """The line of one terminal. It ends with the session that it found when it was opened."""

    def __init__(self, terminals: Terminals, terminal: str) -> None:
        super().__init__(f"terminal {terminal}")
        self._terminals, self._terminal = terminals, terminal
        self._session: Session | None = None

    async def _connect(self) -> None:
        while True:
            session = await self._terminals.session_of(self._terminal)
            if session.is_free:  # else it ended between its registration and this moment
                break
        self._session = session
        session.carry(self)

    def writer(self) -> Callable[[bytes], None]:
        """See StreamChannel."""
        return self.write

    def write(self, data: bytes) -> None:
        """See StreamChannel."""
        if self._session is not None:
            self._session.asked()
        super().write(data)
