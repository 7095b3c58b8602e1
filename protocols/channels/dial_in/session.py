"""One connection of a terminal, and the channel of the line that uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Protocol, cast

from protocols.channels.dial_in.events import DialInEvent, DialInEvents
from protocols.channels.streams import StreamChannel
from protocols.channels.tls import shown_certificate
from protocols.dial_in.callers import Certificate
from protocols.dial_in.registration import (
    HOLD_S,
    LONGEST_REGISTRATION,
    MOST_HEARTBEATS,
    HeartbeatFilter,
    RegistrationSettings,
)
from protocols.peer import Peer, Proof

MOST_UNCLAIMED: Final = 4096
"""Maximum of bytes kept for a line that has not opened its channel; then the older ones are
dropped, which are of an answer that was given up."""
HEARTBEAT: Final = DialInEvent.HEARTBEAT
"""Looked up once: a member of an enum takes 0.35 us (Python 3.11), a tenth of a heartbeat."""
MOST_UNSENT: Final = 64 * 1024
"""Maximum of bytes that a terminal leaves unread, answers to its heartbeats; then it is cut off."""
MINUTE_S: Final = 60.0
IN_FLIGHT_S: Final = 1.0
"""A heartbeat that comes later than this after a challenge was sent after it."""


class SessionOwner(Protocol):
    """Knows the terminals; sessions tell it what becomes of them."""

    registration: RegistrationSettings
    events: DialInEvents

    def may_accept(self) -> bool:
        """False while too many connections have not registered."""

    def connection_accepted(self, session: Session) -> None:
        """A connection was taken that will be this session."""

    def registration_received(self, session: Session) -> None:
        """The session has a `terminal` now."""

    def challenge_answered(self, session: Session) -> None:
        """The session was challenged and lives."""

    def question(self, terminal: str) -> str:
        """Why it is open who speaks for the terminal; empty when it is not."""

    def flooded(self, session: Session) -> None:
        """The session sends more heartbeats than it may: it is to be hung up on."""

    def registration_invalid(self, session: Session, data: bytes) -> None:
        """These bytes are no registration, and no more of them are waited for."""

    def connection_lost(self, session: Session) -> None:
        """The connection is gone, or never came about."""


class Session(asyncio.Protocol):
    """One connection, from its first byte on.

    `terminal` is empty until it has registered. `number` counts accepted connections: of two
    sessions of one terminal the higher one is the newer.
    """

    __slots__ = (
        "_beats",
        "_beats_since",
        "_challenged_at",
        "_heartbeat_filter",
        "_is_asked",
        "_owner",
        "_settling",
        "accepted_at",
        "address",
        "certificate",
        "channel",
        "heartbeats",
        "is_over",
        "number",
        "proof",
        "received_at",
        "since",
        "terminal",
        "transport",
        "unclaimed",
    )

    def __init__(
        self, owner: SessionOwner, address: str, number: int, now: float, since: datetime
    ) -> None:
        self._owner = owner
        self.address = address
        self.since = since
        """When it was accepted, aware UTC."""
        self.certificate: Certificate | None = None
        self.proof = Proof.NONE
        """What it has shown to be let in."""
        self.number = number
        self.accepted_at = now
        """The time of the event loop, as is `received_at`, when bytes came last."""
        self.received_at = now
        self.terminal = ""
        self.heartbeats = 0
        self._beats = 0
        """Heartbeats of the minute that began at `_beats_since`."""
        self._beats_since = now
        self.is_over = False
        self.unclaimed = b""
        """An incomplete registration, then bytes for a line that has not opened its channel."""
        self.transport: asyncio.Transport | None = None
        self.channel: TerminalChannel | None = None
        self._heartbeat_filter: HeartbeatFilter | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._challenged_at: float | None = None
        self._is_asked = False
        """Something was sent to it since it was challenged."""

    @property
    def peer(self) -> Peer:
        """Who this is."""
        shown = self.certificate
        return Peer(
            self.address,
            self.proof,
            self.terminal,
            "" if shown is None else shown.fingerprint,
            self.since,
        )

    @property
    def question(self) -> str:
        """Why it is open whether this is the terminal; empty when it is not."""
        return "" if self.proof is Proof.CERTIFICATE else self._owner.question(self.terminal)

    @property
    def was_asked(self) -> bool:
        """Whether anything was sent to it since it was challenged."""
        return self._is_asked

    @property
    def is_free(self) -> bool:
        """True while a line can have it: once, because leaving its channel closes it."""
        return self.channel is None and not self.is_over

    # --- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The terminal is connected and has not said who it is."""
        # uvloop's transports are transports in all but their class.
        self.transport = cast(asyncio.Transport, transport)
        self.certificate = shown_certificate(transport)
        # It may have been ended during its TLS handshake.
        if self.is_over:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came: of its registration, heartbeats, or for the line."""
        if self.is_over:
            return
        self.received_at = asyncio.get_running_loop().time()
        if self._heartbeat_filter is not None:
            self._receive(self._heartbeat_filter, data)
        elif not self.terminal:
            self._receive_registration(self.unclaimed + data)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone; the line that uses it gets a LineDown."""
        self._stop_settling()
        self.is_over = True
        self._owner.connection_lost(self)
        if self.channel is not None:
            self.channel.connection_lost(error)

    def pause_writing(self) -> None:
        """The carrier takes no more for the moment."""
        if self.channel is not None:
            self.channel.pause_writing()

    def resume_writing(self) -> None:
        """The carrier takes again."""
        if self.channel is not None:
            self.channel.resume_writing()

    # --- what its owner and its channel call

    def end(self, why: str) -> None:
        """Hang up at once: no byte goes to the line any more, none that waits to be sent leaves."""
        self.is_over = True
        self._stop_settling()
        if self.channel is not None:
            self.channel.lose(f"{self.channel.name}: {why}")
        if self.transport is not None:
            self.transport.abort()

    def challenge(self) -> None:
        """Another caller says the id of its terminal: does this one still answer?"""
        self._challenged_at = asyncio.get_running_loop().time()
        self._is_asked = False

    def confirm_registration(self, heartbeat_filter: HeartbeatFilter) -> None:
        """The terminal is a line: from now on heartbeats are answered and the rest goes to it."""
        self._heartbeat_filter = heartbeat_filter
        self._send(self._owner.registration.registration_answer)
        unclaimed = self._claim()
        if unclaimed:
            self._receive(heartbeat_filter, unclaimed)

    def attach(self, channel: TerminalChannel) -> None:
        """Be the carrier of this channel, which gets the unclaimed bytes too."""
        assert self.transport is not None
        self.channel = channel
        channel.connection_made(self.transport)
        unclaimed = self._claim()
        if unclaimed:
            channel.data_received(unclaimed)

    def before_request(self) -> None:
        """The line is about to send a request: what comes after it begins an answer."""
        if self._heartbeat_filter is None or self.is_over:
            return
        self._is_asked = True
        # What is held came before the request, so it is no part of its answer.
        if self._settling is not None:
            self._settle(self._heartbeat_filter)
        self._heartbeat_filter.request_sent()

    # --- inside

    def _receive_registration(self, data: bytes) -> None:
        found = self._owner.registration.read(data)
        if found is not None:
            self.terminal, end = found
            self.unclaimed = data[end:]
            self._owner.registration_received(self)
        elif len(data) >= LONGEST_REGISTRATION:
            self._owner.registration_invalid(self, data)
        else:
            self.unclaimed = data

    def _receive(self, heartbeat_filter: HeartbeatFilter, data: bytes) -> None:
        self._stop_settling()
        rest, beats = heartbeat_filter.feed(data, self.received_at)
        if heartbeat_filter.held:
            loop = asyncio.get_running_loop()
            self._settling = loop.call_later(HOLD_S, self._settle, heartbeat_filter)
        self._pass_on(rest, beats)

    def _settle(self, heartbeat_filter: HeartbeatFilter) -> None:
        self._stop_settling()
        rest, beats = heartbeat_filter.settle()
        self._pass_on(rest, beats)

    def _pass_on(self, rest: bytes, beats: list[bytes]) -> None:
        if beats:
            self.heartbeats += len(beats)
            self._owner.events.count(HEARTBEAT, len(beats))
            if self._are_too_many(len(beats)):
                self._owner.flooded(self)
                return
            self._send(b"".join(map(self._owner.registration.answer, beats)))
        if self._challenged_at is not None:
            self._answer_challenge(self._challenged_at, has_answer=bool(rest))
        if not rest or self.is_over:
            return
        if self.channel is not None:
            self.channel.data_received(rest)
        elif len(self.unclaimed) + len(rest) > MOST_UNCLAIMED:
            self.unclaimed = rest
        else:
            self.unclaimed += rest

    def _are_too_many(self, beats: int) -> bool:
        if self.received_at - self._beats_since > MINUTE_S:
            self._beats_since = self.received_at
            self._beats = 0
        self._beats += beats
        return self._beats > MOST_HEARTBEATS

    def _answer_challenge(self, challenged_at: float, *, has_answer: bool) -> None:
        # What was on its way when the other caller came shows nothing; an answer to a question
        # that was asked since does, and a heartbeat that was sent since.
        is_later = self.received_at > challenged_at + IN_FLIGHT_S
        if (has_answer and self._is_asked) or (not has_answer and is_later):
            self._challenged_at = None
            self._owner.challenge_answered(self)

    def _send(self, answer: bytes) -> None:
        if not answer or self.transport is None or self.transport.is_closing():
            return
        # Or the answers would pile up here for as long as the terminal goes on.
        if self.transport.get_write_buffer_size() > MOST_UNSENT:
            self.end("takes no answers")
        else:
            self.transport.write(answer)

    def _claim(self) -> bytes:
        unclaimed = self.unclaimed
        self.unclaimed = b""
        return unclaimed

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None


class TerminalChannel(StreamChannel):
    """The line of one terminal. It ends with the session that it found when it was opened."""

    def __init__(self, session_of: Callable[[str], Awaitable[Session]], terminal: str) -> None:
        super().__init__(f"terminal {terminal}")
        self._session_of = session_of
        self._terminal = terminal
        self._session: Session | None = None

    async def _connect(self) -> None:
        session = await self._session_of(self._terminal)
        while not session.is_free:  # it ended between its registration and this moment
            session = await self._session_of(self._terminal)
        self._session = session
        session.attach(self)

    @property
    def peer(self) -> Peer:
        """See Channel."""
        assert self._session is not None, "the channel is not open"
        return self._session.peer

    @property
    def question(self) -> str:
        """See Channel."""
        return "" if self._session is None else self._session.question

    def writer(self) -> Callable[[bytes], None]:
        """See StreamChannel."""
        return self.write

    def write(self, data: bytes) -> None:
        """See StreamChannel."""
        if self._session is not None:
            self._session.before_request()
        super().write(data)
