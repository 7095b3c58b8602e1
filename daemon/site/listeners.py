"""The ports at which terminals dial in.

How they are made of what is configured, and what is logged of their callers."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import tzinfo
from typing import Any, Final

import structlog

from config.lines import enabled_listeners
from config.load import LoadedSite
from config.settings import ListenerSection
from config.terminals import Terminal
from daemon import metrics
from daemon.acquisition.planning.flapping import Flapping
from protocols.channels.dial_in.endpoint import Limits
from protocols.channels.dial_in.events import DialInEvent
from protocols.channels.dial_in.session import TerminalChannel
from protocols.channels.dial_in.terminals import Terminals
from protocols.channels.tls import server_tls
from protocols.dial_in.callers import PermittedCallers
from protocols.dial_in.registration import RegistrationSettings

log = structlog.get_logger("listener")

MOST_TOLD = 10
"""Maximum of events of a kind logged one by one between two `show`; after an outage thousands come
at once."""
CHALLENGE_MARGIN_S: Final = 1.0
"""Added to the time of a question that is asked of a session in dispute."""
EVENT_WORDS: Final = {
    DialInEvent.REGISTERED: ("info", "terminal connected"),
    DialInEvent.REPLACED: ("info", "terminal called again"),
    DialInEvent.REPLACED_FROM_ELSEWHERE: ("warning", "terminal called from another address"),
    DialInEvent.CONTESTED: ("error", "a second caller says that it is this terminal, refused"),
    DialInEvent.PING_PONG: ("error", "callers replace each other as this terminal"),
    DialInEvent.SOURCE_REFUSED: ("error", "caller may not speak for this terminal"),
    DialInEvent.CLOSED: ("warning", "terminal away"),
    DialInEvent.SILENT: ("warning", "terminal silent, hung up"),
    DialInEvent.FLOODED: ("error", "terminal sends heartbeats without end, hung up"),
    DialInEvent.UNKNOWN: ("warning", "unknown terminal"),
    DialInEvent.REGISTRATION_INVALID: ("warning", "caller did not say who it is"),
    DialInEvent.REFUSED_ADDRESS: ("warning", "too many connections from an address"),
    DialInEvent.TLS_FAILED: ("warning", "no TLS with a caller"),
    DialInEvent.NO_DESCRIPTORS: ("error", "no file descriptor left for a caller"),
}
"""The levels and words of the events that are told one by one."""
COMES_AND_GOES: Final = frozenset(
    {DialInEvent.REGISTERED, DialInEvent.REPLACED, DialInEvent.CLOSED}
)
"""A terminal for which these come again and again is one line of the log."""


class Listener:
    """One port, and the terminals that are its lines."""

    def __init__(
        self, section: ListenerSection, terminals: Iterable[Terminal], *, is_vouched: bool = False
    ) -> None:
        """`is_vouched`: the site says by name that plain text is enough for trips."""
        tls = None
        if section.tls_certificate is not None and section.tls_key is not None:
            tls = server_tls(section.tls_certificate, section.tls_key, section.tls_client_ca)
        self.name = section.name
        self._is_vouched = is_vouched
        self.lines: Mapping[str, str] = {}
        """The names of its lines by their terminals."""
        self.on_challenge: Callable[[str], None] = lambda line: None
        """Called with a line whose terminal somebody else says to be: it is to ask something."""
        self.terminals = Terminals(
            section.name,
            section.listen,
            registration_settings_of(section),
            known=self._take_in(section, terminals),
            limits=limits_of(section),
            tls=tls,
            on_event=self._happened,
        )
        self.terminals.ask = lambda terminal: self.on_challenge(self.lines[terminal])
        metrics.born(metrics.LISTENER_EVENTS, [self.name], DialInEvent)
        self._shown = dict.fromkeys(DialInEvent, 0)
        """The counts that the metrics hold."""
        self._flapping: defaultdict[str, Flapping] = defaultdict(Flapping)
        """By terminal."""
        self._told: Counter[DialInEvent] = Counter()
        """Events since the last `show`."""

    def channel(self, terminal: str) -> TerminalChannel:
        """The channel of one terminal's line."""
        return self.terminals.channel(terminal)

    def change(self, section: ListenerSection, terminals: Iterable[Terminal]) -> None:
        """From now on these are its lines, and so it greets and limits callers.

        It stays at its port."""
        known = self._take_in(section, terminals)
        self.terminals.registration = registration_settings_of(section)
        self.terminals.endpoint.limits = limits_of(section)
        self.terminals.allow(known)

    def show(self) -> None:
        """Bring the metrics up to date, and log how much was not logged one by one."""
        terminals = self.terminals
        for event, count in terminals.counts.items():
            metrics.LISTENER_EVENTS.labels(self.name, event).inc(count - self._shown[event])
        self._shown = terminals.counts.copy()
        for state, connections in (
            ("connected", terminals.sessions),
            ("unregistered", terminals.unregistered),
            ("quarantined", terminals.quarantine),
        ):
            metrics.TERMINALS.labels(self.name, state).set(len(connections))
        untold = {
            event.value: count - MOST_TOLD
            for event, count in self._told.items()
            if count > MOST_TOLD
        }
        if untold:
            log.warning(
                "terminals, not told one by one",
                listener=self.name,
                **untold,
            )
        self._told.clear()

    def rows(self, now: float, zone: tzinfo) -> list[dict[str, Any]]:
        """See `terminal_rows`."""
        return [
            {"listener": self.name, **row}
            for row in terminal_rows(
                self.terminals,
                self.lines,
                now,
                zone,
            )
        ]

    def _take_in(
        self, section: ListenerSection, terminals: Iterable[Terminal]
    ) -> dict[str, PermittedCallers]:
        """Who may speak for each of these terminals, which are the lines from now on."""
        listed = list(terminals)
        self.lines = {it.terminal: it.line for it in listed}
        return {
            it.terminal: PermittedCallers(
                it.networks or section.permitted_networks, it.fingerprint, self._is_vouched
            )
            for it in listed
        }

    def _happened(
        self,
        event: DialInEvent,
        terminal: str,
        detail: str,
    ) -> None:
        level, words = EVENT_WORDS[event]
        named: dict[str, Any] = {}
        if terminal:
            named = {"line": self.lines.get(terminal), "terminal": terminal}
        if event in COMES_AND_GOES:
            flapping = self._flapping[terminal]
            now_s = time.monotonic()
            if event is DialInEvent.REGISTERED:
                is_told = flapping.opened(now_s)
            else:
                is_told = bool(told := flapping.lost(now_s))
                if told == "line flaps":
                    words = "terminal comes and goes"
                    named["times"] = flapping.times
            if not is_told:
                return
        self._told[event] += 1
        if self._told[event] > MOST_TOLD:
            return
        getattr(log, level)(
            words,
            listener=self.name,
            **named,
            detail=detail,
        )


@asynccontextmanager
async def open_listeners(site: LoadedSite) -> AsyncIterator[dict[str, Listener]]:
    """The site's enabled ones by their names. LineDown when a port cannot be had."""
    async with AsyncExitStack() as opened:
        listeners: dict[str, Listener] = {}
        for section in enabled_listeners(site.settings):
            vouched = site.settings.control.trips_over_plain_text
            listener = Listener(
                section, site.terminals[section.name], is_vouched=section.name in vouched
            )
            await opened.enter_async_context(listener.terminals)
            listeners[section.name] = listener
        yield listeners


def terminal_rows(
    terminals: Terminals,
    lines: Mapping[str, str],
    now: float,
    zone: tzinfo,
) -> Iterator[dict[str, Any]]:
    """A row for each terminal that is a line, then for each in quarantine, the newest first.

    `lines`: terminal -> line. `now`: the event loop's time. `state` is connected, away or unknown.
    """
    for terminal, line in lines.items():
        row: dict[str, Any] = {
            "line": line,
            "terminal": terminal,
            "state": "away",
        }
        if (session := terminals.sessions.get(terminal)) is not None:
            row |= {
                "state": "connected",
                "address": session.address,
                "connected_s": round(now - session.accepted_at),
                "silent_s": round(now - session.received_at),
                "heartbeats": session.heartbeats,
            }
        yield row
    for seen in reversed(terminals.quarantine.values()):
        yield {
            "line": None,
            "terminal": seen.terminal,
            "state": "unknown",
            "address": seen.address,
            "first_seen": seen.first_seen.astimezone(zone).isoformat(timespec="seconds"),
            "last_seen": seen.last_seen.astimezone(zone).isoformat(timespec="seconds"),
            "times": seen.times,
            "why": seen.why,
        }


def registration_settings_of(section: ListenerSection) -> RegistrationSettings:
    """What its terminals say and hear."""
    return RegistrationSettings(
        section.registration,
        section.heartbeat,
        section.registration_answer or b"",
        section.heartbeat_answer or b"",
    )


def limits_of(section: ListenerSection) -> Limits:
    """What it takes."""
    return Limits(
        accept_per_s=section.accept_per_s,
        most_per_address=section.most_per_address,
        registration_timeout_s=section.registration_timeout_s,
        silent_s=section.silent_s,
        challenge_s=challenge_s(section),
    )


def challenge_s(section: ListenerSection) -> float:
    """So long a line may need until a meter that is there has answered, or was given up."""
    return section.reply_timeout_s * (1 + section.retries) + CHALLENGE_MARGIN_S
