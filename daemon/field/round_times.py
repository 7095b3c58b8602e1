"""How long the lines of a site need for their meters: the sums that one forgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from config.lines import LineSpec, TerminalSettings, configured_lines
from config.load import LoadedSite
from config.settings import GatewaySection, LineSection, ListenerSection

CHARACTER_BITS: Final = 11
DAY_CHARACTERS: Final = 4 + 16 + 4 + 21 + 4 + 16 + 4 + 36
"""One freeze: its time stamp and its five registers, each asked and answered, with four wake-up
bytes."""
CLOCK_CHARACTERS: Final = 4 + 16 + 4 + 20 + 4 + 16 + 4 + 19
ANSWER_DELAY_S: Final = 0.1
"""A meter may take 20 to 500 ms (DL/T 645-2007); most need about this."""
DTU_BAUD: Final = 2400
"""What is behind a terminal or a transparent DTU is in no file; most of its meters speak so."""


@dataclass(frozen=True, slots=True)
class RoundTime:
    """What one line, or all terminals of a listener, need for their meters.

    `daily`: for one day's freezes; `first`: for as many days as are collected at the start."""

    line: str
    channel: str
    meters: int
    daily: timedelta
    first: timedelta


@dataclass(frozen=True, slots=True)
class SiteRounds:
    """The round times of a site's lines with bytes of their own; a gateway polls by itself."""

    lines: list[RoundTime]
    terminals: dict[str, list[RoundTime]]
    """By the name of their listener."""

    @property
    def all(self) -> list[RoundTime]:
        """Lines first, then terminals."""
        return [*self.lines, *(each for own in self.terminals.values() for each in own)]


def site_rounds(site: LoadedSite) -> SiteRounds:
    """The round times of every line of the files, those that are switched off too."""
    meters = Counter(meter.line for meter in site.archive.meters)
    days = site.settings.collection.backfill_days
    rounds = SiteRounds([], {})
    for line in configured_lines(site):
        if isinstance(line.settings, GatewaySection):
            continue  # it polls its meters by itself
        channel, baud = _channel_and_baud(line.settings)
        count = meters[line.name]
        round_time = RoundTime(
            line=line.name,
            channel=channel,
            meters=count,
            daily=_time(baud, count, 1),
            first=_time(baud, count, days),
        )
        _rounds_of(rounds, line).append(round_time)
    return rounds


def listener_round(listener: ListenerSection, terminals: Sequence[RoundTime]) -> RoundTime:
    """All terminals of a listener as one: they are read at the same time, the slowest counts."""
    return RoundTime(
        line=listener.name,
        channel=f"{len(terminals)} terminals at {_host_and_port(listener.listen)}",
        meters=sum(terminal.meters for terminal in terminals),
        daily=max(terminal.daily for terminal in terminals),
        first=max(terminal.first for terminal in terminals),
    )


def _rounds_of(rounds: SiteRounds, line: LineSpec) -> list[RoundTime]:
    if isinstance(line.settings, TerminalSettings):
        return rounds.terminals.setdefault(line.shown_as, [])
    return rounds.lines


def _channel_and_baud(settings: LineSection | TerminalSettings) -> tuple[str, int | None]:
    """Its name, and how many bits pass in a second; None for a network, which takes no time."""
    if isinstance(settings, TerminalSettings):
        return settings.terminal, DTU_BAUD
    if settings.tcp is not None:
        return _host_and_port(settings.tcp), None
    if settings.mqtt is not None:
        return f"{settings.mqtt.host} {settings.mqtt.up}", DTU_BAUD
    return settings.serial or "", settings.baud


def _host_and_port(place: Iterable[object]) -> str:
    return ":".join(map(str, place))


def _time(baud: int | None, meters: int, days: int) -> timedelta:
    """Rough time to read that many daily freezes of all meters.

    Characters on the wire and the meters' delay."""
    characters = meters * (days * DAY_CHARACTERS + CLOCK_CHARACTERS)
    on_the_wire_s = characters * CHARACTER_BITS / baud if baud else 0
    answers = meters * (2 * days + 2)
    return timedelta(seconds=on_the_wire_s + answers * ANSWER_DELAY_S)
