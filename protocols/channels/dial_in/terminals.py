"""Terminals that dial in: DTUs and concentrators are TCP clients, and each of them is a line.

One listener serves many terminals. A connection is a session once it has registered; a line opens
the channel of its terminal and has the newest session of it, whenever that comes."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from protocols.channels.dial_in.endpoint import DEFAULT_LIMITS, Endpoint, Limits
from protocols.channels.dial_in.events import DialInEvent, DialInEvents, OnEvent
from protocols.channels.dial_in.session import Session, TerminalChannel
from protocols.channels.streams import reason
from protocols.dial_in.callers import PermittedCallers
from protocols.dial_in.registration import (
    MOST_HEARTBEATS,
    HeartbeatFilter,
    RegistrationSettings,
)
from protocols.dial_in.rivals import Rivals
from protocols.errors import LineDown
from protocols.peer import Proof

LONGEST_SWEEP_PERIOD_S: Final = 5.0
SHOWN_OF_INVALID: Final = 32
"""Bytes of what is no registration that the quarantine shows."""
UNASKED_TIMES: Final = 4
"""So often a session that nobody asked anything is given time again."""
REPLACED: Final = "replaced by a newer session of the same terminal"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A caller that is no line. `terminal` is empty when it did not register."""

    terminal: str
    address: str
    first_seen: datetime
    last_seen: datetime
    times: int
    why: str


@dataclass(frozen=True, slots=True)
class _Contest:
    """A caller that waits whether the session which is there answers."""

    newcomer: Session
    ends: asyncio.TimerHandle
    patience: int = UNASKED_TIMES
    """How often it is put off while nobody asked anything."""


class Terminals:
    """A listener and the sessions of its terminals; binds in `async with`.

    `listen`: host and port. `known`: by the ids of the terminals that are lines, who may speak for
    them.
    """

    def __init__(
        self,
        name: str,
        listen: tuple[str, int],
        registration: RegistrationSettings,
        *,
        known: Mapping[str, PermittedCallers],
        limits: Limits = DEFAULT_LIMITS,
        tls: ssl.SSLContext | None = None,
        on_event: OnEvent = lambda event, terminal, detail: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self.registration = registration
        """How terminals register and show that they are alive; may be changed."""
        self.events = DialInEvents(on_event)
        self.sessions: dict[str, Session] = {}
        """The registered ones, by the id of their terminal."""
        self.unregistered: dict[Session, None] = {}
        """In the order in which they were accepted."""
        self.quarantine: OrderedDict[str, Quarantined] = OrderedDict()
        """By id, or by address where there is none; the newest last."""
        self.endpoint = Endpoint(self, listen, limits, tls)
        self._known = dict(known)
        self.ask: Callable[[str], None] = lambda terminal: None
        """Called with a terminal that another caller disputes: its line is to ask something over
        the session that is there."""
        self._contests: dict[str, _Contest] = {}
        self._rivals = Rivals()
        self._unknown: OrderedDict[str, Session] = OrderedDict()
        """Sessions that wait for `allow`, by the id of their terminal."""
        self._waiting: dict[str, asyncio.Future[Session]] = {}
        """Channels that wait for their terminal."""
        self._open: set[Session] = set()
        self._now = now
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None
        """Set when the last session has ended; there is one only while the listener closes."""
        self._loop: asyncio.AbstractEventLoop

    @property
    def counts(self) -> dict[DialInEvent, int]:
        """How often each event happened since the listener was made."""
        return self.events.counts

    def channel(self, terminal: str) -> TerminalChannel:
        """The channel of one terminal's line.

        Opening it waits until the terminal is there, however long that takes.
        """
        return TerminalChannel(self.session_of, terminal)

    def allow(self, known: Mapping[str, PermittedCallers]) -> None:
        """From now on these terminals are lines, and no others.

        One that waits in quarantine gets its session at once; the session of one that is no line
        any more ends, and that of a caller who may not speak for its terminal any more."""
        self._known = dict(known)
        for terminal in self.quarantine.keys() & self._known.keys():
            del self.quarantine[terminal]
        for terminal in self._unknown.keys() & self._known.keys():
            self._let_in(self._unknown.pop(terminal))
        for terminal, session in list(self.sessions.items()):
            if terminal not in self._known:
                self._drop_contest(terminal, "taken out of the list of terminals")
                self._rivals.forget(terminal)
                session.end("taken out of the list of terminals")
            elif obstacle := self._obstacle(session):
                self._refuse(session, DialInEvent.SOURCE_REFUSED, obstacle)
            else:
                session.proof = self._known[terminal].proof(session.certificate)

    async def session_of(self, terminal: str) -> Session:
        """The newest session of a terminal, as soon as there is one that is free.

        LineDown when the listener closes.
        """
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

    async def __aenter__(self) -> Self:
        """LineDown when the port cannot be had."""
        self._loop = asyncio.get_running_loop()
        try:
            await self.endpoint.open()
        except OSError as error:
            place = f"{self.endpoint.host}:{self.endpoint.port}"
            raise LineDown(
                f"listener {self.name}: cannot listen on {place}: {reason(error)}"
            ) from error
        self._sweep()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self.endpoint.close()
        why = f"listener {self.name} is closed"
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LineDown(why))
        if not self._open:
            return
        self._emptied = asyncio.Event()
        for session in list(self._open):
            session.end(why)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.endpoint.limits.closing_s):
                await self._emptied.wait()

    # --- what sessions tell

    def may_accept(self) -> bool:
        """See SessionOwner."""
        if len(self.unregistered) < self.endpoint.limits.most_unregistered:
            return True
        oldest = next(iter(self.unregistered))
        return self._loop.time() - oldest.accepted_at >= self.endpoint.limits.left_s

    def connection_accepted(self, session: Session) -> None:
        """See SessionOwner."""
        self._open.add(session)
        self.unregistered[session] = None
        if len(self.unregistered) > self.endpoint.limits.most_unregistered:
            oldest = next(iter(self.unregistered))
            self.registration_invalid(oldest, oldest.unclaimed)

    def registration_received(self, session: Session) -> None:
        """See SessionOwner."""
        self.unregistered.pop(session, None)
        if session.terminal in self._known:
            self._let_in(session)
        else:
            self._keep_unknown(session)

    def challenge_answered(self, session: Session) -> None:
        """See SessionOwner."""
        terminal = session.terminal
        self._rivals.answered(terminal, self._loop.time())
        why = f"{session.address} answers as this terminal"
        if terminal in self._contests:
            self._drop_contest(terminal, why)
        else:
            self.events.report(DialInEvent.CONTESTED, terminal, f"one that hung up: {why}")

    def question(self, terminal: str) -> str:
        """See SessionOwner."""
        if terminal in self._contests:
            return "another caller says that it is this terminal"
        return self._rivals.question(terminal, self._loop.time())

    def flooded(self, session: Session) -> None:
        """See SessionOwner."""
        why = f"more than {MOST_HEARTBEATS} heartbeats in a minute"
        self._refuse(session, DialInEvent.FLOODED, why)

    def registration_invalid(self, session: Session, data: bytes) -> None:
        """See SessionOwner."""
        self.unregistered.pop(session, None)
        shown = data[:SHOWN_OF_INVALID].hex(" ").upper()
        why = f"no registration, but {shown}" if data else "said nothing"
        self._note(session, why)
        detail = f"{session.address}: {why}"
        self.events.report(DialInEvent.REGISTRATION_INVALID, "", detail)
        session.end(why)

    def connection_lost(self, session: Session) -> None:
        """See SessionOwner."""
        if session not in self._open:
            return
        self._open.discard(session)
        self.unregistered.pop(session, None)
        self.endpoint.release(session.address)
        terminal = session.terminal
        if self._unknown.get(terminal) is session:
            del self._unknown[terminal]
        contest = self._contests.get(terminal)
        if self.sessions.get(terminal) is session:
            del self.sessions[terminal]
            if self._emptied is None:
                self.events.report(DialInEvent.CLOSED, terminal, session.address)
                if contest is not None:
                    self._yield_to(contest.newcomer)
        elif contest is not None and contest.newcomer is session:
            # Whoever disputed the place is gone; the challenge goes on, and nobody waits for it.
            contest.ends.cancel()
            del self._contests[terminal]
        if self._emptied is not None and not self._open:
            self._emptied.set()

    # --- who they are

    def _obstacle(self, session: Session) -> str:
        """Why this caller may not speak for its terminal."""
        terminal = session.terminal
        spellings = {terminal}
        if self.registration.registration.is_binary:
            spellings.add(terminal.lower())
        return self._known[terminal].obstacle(spellings, session.address, session.certificate)

    def _let_in(self, session: Session) -> None:
        """It says the id of a line: it is the line, unless it may not be, or somebody else is."""
        terminal = session.terminal
        if obstacle := self._obstacle(session):
            self._refuse(session, DialInEvent.SOURCE_REFUSED, obstacle)
            return
        session.proof = self._known[terminal].proof(session.certificate)
        present = self.sessions.get(terminal)
        if present is None or present.is_over:
            self._register(session)
        # Its registration was long under way: the terminal has called again meanwhile.
        elif present.number > session.number:
            self.events.count(DialInEvent.OUTDATED)
            session.end("older than the session that the terminal has")
        elif session.proof is Proof.CERTIFICATE and session.certificate == present.certificate:
            self._replace(present, session)
        else:
            self._contest(present, session)

    def _contest(self, present: Session, newcomer: Session) -> None:
        """Ask the session that is there: the terminal may have called again, or somebody else."""
        terminal = newcomer.terminal
        if self._rivals.may_rest(terminal, self._loop.time()):
            self._refuse(
                newcomer, DialInEvent.CONTESTED, f"{present.address} answers as this terminal"
            )
            return
        before = self._contests.pop(terminal, None)
        if before is not None:
            # The challenge is under way; of those who wait for it only the newest stays.
            before.ends.cancel()
            before.newcomer.end(REPLACED)
        limit_s = self.endpoint.limits.challenge_s
        # A silent session does not gain time by every further caller.
        at = self._loop.time() + limit_s if before is None else before.ends.when()
        ends = self._loop.call_at(at, self._end_contest, present, newcomer)
        left = UNASKED_TIMES if before is None else before.patience
        self._contests[terminal] = _Contest(newcomer, ends, left)
        if before is None:
            present.challenge()
            self.ask(terminal)

    def _drop_contest(self, terminal: str, why: str) -> None:
        contest = self._contests.pop(terminal, None)
        if contest is not None:
            contest.ends.cancel()
            self._refuse(contest.newcomer, DialInEvent.CONTESTED, why)

    def _end_contest(self, present: Session, newcomer: Session) -> None:
        """Time is over; whoever was not asked, as just before midnight, was not silent."""
        contest = self._contests[newcomer.terminal]
        if present.is_over or present.was_asked or not contest.patience:
            self._yield_to(newcomer)
            return
        ends = self._loop.call_later(
            self.endpoint.limits.challenge_s, self._end_contest, present, newcomer
        )
        self._contests[newcomer.terminal] = _Contest(newcomer, ends, contest.patience - 1)
        self.ask(newcomer.terminal)

    def _yield_to(self, newcomer: Session) -> None:
        """The session that was there is silent, or gone: the newcomer takes its place."""
        terminal = newcomer.terminal
        self._contests.pop(terminal).ends.cancel()
        if newcomer.is_over:
            return
        present = self.sessions.get(terminal)
        if present is None or present.is_over:
            self._register(newcomer)
        else:
            self._replace(present, newcomer)

    def _replace(self, present: Session, newcomer: Session) -> None:
        terminal = newcomer.terminal
        event = DialInEvent.REPLACED
        detail = f"{present.address} by {newcomer.address}"
        if present.address != newcomer.address:
            event = DialInEvent.REPLACED_FROM_ELSEWHERE
            if self._rivals.replaced_from_elsewhere(terminal, self._loop.time()):
                self.events.report(DialInEvent.PING_PONG, terminal, detail)
        self.events.report(event, terminal, detail)
        present.end(REPLACED)
        self._register(newcomer)

    def _register(self, session: Session) -> None:
        terminal = session.terminal
        self.sessions[terminal] = session
        session.confirm_registration(HeartbeatFilter(self.registration, terminal))
        self.events.report(DialInEvent.REGISTERED, terminal, session.address)
        waiting = self._waiting.get(terminal)
        if waiting is not None and not waiting.done():
            waiting.set_result(session)

    def _refuse(self, session: Session, event: DialInEvent, why: str) -> None:
        """Hang up on a caller that may not speak for the terminal whose id it said."""
        self._note(session, why)
        self.events.report(event, session.terminal, f"{session.address}: {why}")
        session.end(why)

    def _keep_unknown(self, session: Session) -> None:
        session.unclaimed = b""
        terminal = session.terminal
        self._note(session, "not in the list of terminals")
        self.events.report(DialInEvent.UNKNOWN, terminal, session.address)
        # A connection that is hung up on calls again at once: one of each is kept.
        older = self._unknown.pop(terminal, None)
        if older is not None:
            older.end(REPLACED)
        if len(self._unknown) < self.endpoint.limits.most_unknown_open:
            self._unknown[terminal] = session
        else:
            session.end("unknown terminal")

    def _note(self, session: Session, why: str) -> None:
        key = session.terminal or session.address
        now = self._now()
        seen = self.quarantine.pop(key, None)
        if seen is None:
            seen = Quarantined(session.terminal, session.address, now, now, 0, why)
        self.quarantine[key] = replace(
            seen, address=session.address, last_seen=now, times=seen.times + 1, why=why
        )
        if len(self.quarantine) > self.endpoint.limits.most_quarantined:
            self.quarantine.popitem(last=False)

    # --- who is silent

    def _sweep(self) -> None:
        """End what was silent for too long: one look at all of them instead of a timer for each."""
        limits = self.endpoint.limits
        now = self._loop.time()
        self._end_unregistered(now - limits.registration_timeout_s)
        shortest_s = limits.registration_timeout_s
        if limits.silent_s:
            self._end_silent(now, limits.silent_s)
            shortest_s = min(shortest_s, limits.silent_s)
        period_s = min(LONGEST_SWEEP_PERIOD_S, shortest_s / 4)
        self._sweeping = self._loop.call_later(period_s, self._sweep)

    def _end_unregistered(self, accepted_before: float) -> None:
        late = [session for session in self.unregistered if session.accepted_at < accepted_before]
        for session in late:
            self.registration_invalid(session, session.unclaimed)

    def _end_silent(self, now: float, silent_s: float) -> None:
        quiet = [session for session in self._open if session.received_at < now - silent_s]
        for session in quiet:
            if not session.is_over:
                self.events.report(DialInEvent.SILENT, session.terminal, session.address)
                session.end(f"silent for {now - session.received_at:.0f} s")
