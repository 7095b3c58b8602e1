"""The lines of a site: everything that each of them is built of, listed in this one place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from config.load import LoadedSite
from config.meters import Meter
from config.settings import (
    GatewaySection,
    LineCollectionSection,
    LineSection,
    ListenerSection,
    Site,
)
from protocols.modbus.profile import Profile


class LineKind(StrEnum):
    """Where a line stands in the files: `[[line]]`, a list of terminals, `[[gateway]]`."""

    LINE = "line"
    TERMINAL = "terminal"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class TerminalSettings:
    """What a terminal's line is built of: its row in the list and four keys of its listener.

    Any other key of the `[[listener]]` belongs to the port, not to the lines behind it."""

    listener: str
    reply_timeout_s: float
    retries: int
    pipelined: int
    pause_ms: int
    terminal: str


@dataclass(frozen=True, slots=True)
class LineMeter:
    """A meter with what its line needs to know of its point and of its registers.

    `ratio` and `max_daily_kwh` are None for a meter whose point is not in the archive."""

    meter: Meter
    ratio: Decimal | None
    max_daily_kwh: Decimal | None
    profile: Profile | None


@dataclass(frozen=True, slots=True)
class LineSpec:
    """One line. Two equal specs make the same line; a reload builds anew what differs.

    `shown_as`: the name in logs and metrics, a terminal's is that of its listener."""

    name: str
    kind: LineKind
    shown_as: str
    enabled: bool
    settings: LineSection | TerminalSettings | GatewaySection
    collection: LineCollectionSection
    is_traced: bool
    site: str
    meters: tuple[LineMeter, ...] = ()

    @property
    def relays(self) -> set[str]:
        """The addresses of the meters that may be switched."""
        return {listed.meter.address for listed in self.meters if listed.meter.relay}


def configured_lines(site: LoadedSite) -> Iterator[LineSpec]:
    """Every line of the files, those that are switched off too, without its meters."""
    for line in site.settings.line:
        yield _spec(
            site,
            line.name,
            LineKind.LINE,
            line.name,
            line.enabled,
            line,
        )
    for listener in site.settings.listener:
        # A listener is no line itself: without a terminal it has none, yet its port is open.
        for row in site.terminals[listener.name]:
            yield _spec(
                site,
                row.line,
                LineKind.TERMINAL,
                listener.name,
                listener.enabled,
                TerminalSettings(
                    listener=listener.name,
                    reply_timeout_s=listener.reply_timeout_s,
                    retries=listener.retries,
                    pipelined=listener.pipelined,
                    pause_ms=listener.pause_ms,
                    terminal=row.terminal,
                ),
            )
    for gateway in site.settings.gateway:
        yield _spec(
            site,
            gateway.name,
            LineKind.GATEWAY,
            gateway.name,
            gateway.enabled,
            gateway,
        )


def line_specs(site: LoadedSite, only: Container[str] | None = None) -> list[LineSpec]:
    """The enabled lines with their meters. `only`: those of these names."""
    wanted = [
        line
        for line in configured_lines(site)
        if line.enabled and (only is None or line.name in only)
    ]
    # A reload asks for a few lines: only their meters are gathered.
    meters = _meters_by_line(site, {line.name for line in wanted})
    return [replace(line, meters=tuple(meters[line.name])) for line in wanted]


def enabled_listeners(settings: Site) -> Iterator[ListenerSection]:
    """The listeners whose ports are open, whether a terminal is in their list or not."""
    return (listener for listener in settings.listener if listener.enabled)


def _spec(
    site: LoadedSite,
    name: str,
    kind: LineKind,
    shown_as: str,
    enabled: bool,
    settings: LineSection | TerminalSettings | GatewaySection,
) -> LineSpec:
    return LineSpec(
        name=name,
        kind=kind,
        shown_as=shown_as,
        enabled=enabled,
        settings=settings,
        collection=site.settings.collection,
        is_traced=name in site.settings.log.trace_lines,
        site=site.settings.site.name,
    )


def _meters_by_line(site: LoadedSite, lines: Collection[str]) -> defaultdict[str, list[LineMeter]]:
    found: defaultdict[str, list[LineMeter]] = defaultdict(list)
    if not lines:
        return found
    points = {point.point: point for point in site.archive.points}
    for meter in site.archive.meters:
        if meter.line not in lines:
            continue
        point = points.get(meter.point)
        found[meter.line].append(
            LineMeter(
                meter=meter,
                ratio=point.ratio if point else None,
                max_daily_kwh=point.max_daily_kwh if point else None,
                profile=site.archive.profiles[meter.profile] if meter.profile else None,
            )
        )
    return found
