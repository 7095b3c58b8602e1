"""What the database knows of a point, in the words of the judge; and registers in their steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from math import ceil
from typing import Any, cast
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.quality.facts import (
    ClockFinding,
    ClockSetting,
    Closing,
    Decision,
    Facts,
    Finding,
    Installation,
    Limit,
    LinkRelease,
    Ratio,
    Read,
    Registers,
    SeenUse,
)
from daemon.quality.verdict import DayState, NextStep, State
from storage import judging
from storage.installations import zone_name
from storage.judging import FactRow, ReadRow, SlotRow


@dataclass
class PointFacts:
    """The documents and decisions of one point, still without its reads."""

    zone: ZoneInfo
    installations: list[Installation] = field(default_factory=list)
    meters: list[tuple[datetime, int, int]] = field(default_factory=list)
    """From when on which meter (its id) serves it, with how many decimals; in order of time."""
    others: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    @property
    def number(self) -> str:
        """What persons call it."""
        return str(self.others["number"][0])

    @property
    def first_day(self) -> date | None:
        """The first day that has a slot."""
        return next(iter(self.others["first_day"]), None)

    @property
    def confirmed(self) -> set[date]:
        """Days of which a person released a value, or a closing named one."""
        named = {day for closing in self.others["closing"] for day, _ in closing.published}
        ordered = sorted(self.others["decision"], key=lambda it: it.number)
        last_word = {(it.day, it.total): it for it in ordered if it.action != "substitute"}
        return named | {it.day for it in last_word.values() if it.action == "release"}

    def meter_on(self, day: date) -> int:
        """The id of the meter that serves the point at 00:00 of this day."""
        return self._on(day)[1]

    def decimals_on(self, day: date) -> int:
        """Of the register that serves the point at 00:00 of this day."""
        return self._on(day)[2]

    def _on(self, day: date) -> tuple[datetime, int, int]:
        midnight = datetime.combine(day, datetime.min.time(), self.zone)
        begun = [meter for meter in self.meters if meter[0] <= midnight]
        return begun[-1] if begun else self.meters[0]

    def with_reads(self, rows: Iterable[ReadRow], begins_on: date | None) -> Facts:
        """All that the judge needs; of a window where `begins_on` is given."""
        told = list(rows)
        others = self.others
        return Facts(
            zone=self.zone,
            installations=tuple(self.installations),
            limits=tuple(others["limit"]),
            ratios=tuple(others["ratio"]),
            reads=tuple(_read(row, self.zone) for row in told if row.total is not None),
            refused=frozenset(row.day for row in told if row.total is None),
            clock_settings=tuple(others["clock_setting"]),
            clock_findings=tuple(others["clock_finding"]),
            findings=tuple(others["finding"]),
            decisions=tuple(others["decision"]),
            link_releases=tuple(others["link_release"]),
            closings=tuple(others["closing"]),
            begins_on=begins_on,
            max_auto_span_days=others["max_auto_span_days"][0],
        )


async def load_facts(connection: AsyncConnection[Any], point_id: int) -> Facts:
    """All that the judge needs of one point, from its beginning."""
    zone = ZoneInfo(await zone_name(connection))
    known = point_facts(await judging.facts(connection, [point_id]), zone)[point_id]
    since = min((it.at.astimezone(zone).date() for it in known.installations), default=None)
    reads = [] if since is None else await judging.reads(connection, {point_id: since}, {})
    return known.with_reads(reads, None)


def point_facts(rows: Sequence[FactRow], zone: ZoneInfo) -> dict[int, PointFacts]:
    """By point what the rows say."""
    found: defaultdict[int, PointFacts] = defaultdict(lambda: PointFacts(zone))
    meters: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row.kind == "installation":
            meters[row.point_id].append(row.content)
    for point, installed in meters.items():
        _install(found[point], sorted(installed, key=lambda it: _instant(it["at"])))
    for row in rows:
        if row.kind != "installation":
            facts = found[row.point_id]
            facts.others[row.kind].append(_FACTS[row.kind](row.content, facts))
    return dict(found)


def day_state(slot: SlotRow, decimals: int) -> DayState:
    """What a day that is not missing shows, in the words of a verdict."""
    return DayState(
        state=cast(State, slot.state),
        total=_kwh(slot.total or 0, decimals),
        codes=slot.codes,
        next_step=cast(NextStep | None, slot.next_step),
    )


def registers(steps: Sequence[int | None], decimals: int) -> Registers:
    """Total and rates in steps as what the register shows; a rate that is not told is none."""
    total, *rates = steps
    assert total is not None, "registers without a total are no registers"
    shown = [None if rate is None else _kwh(rate, decimals) for rate in rates]
    return Registers(_kwh(total, decimals), rates_of(shown))


def rates_of(shown: Iterable[Decimal | None]) -> tuple[tuple[str, Decimal], ...]:
    """The rate registers by their numbers on the meter; one that is not told is none."""
    return tuple((f"{number:02d}", it) for number, it in enumerate(shown, 1) if it is not None)


def _install(facts: PointFacts, installed: Sequence[Mapping[str, Any]]) -> None:
    before: Mapping[str, Any] | None = None
    for content in installed:
        at = _instant(content["at"])
        decimals = content["decimals"]
        facts.meters.append((at, content["meter_id"], decimals))
        facts.installations.append(
            Installation(
                at=at,
                serial=content["serial"],
                modulus=_kwh(content["modulus"], decimals),
                decimals=decimals,
                wire_decimals=content["wire_decimals"],
                initial=_registers_or_none(content["initial"], decimals),
                old_final=None
                if before is None
                else _registers_or_none(before["final"], before["decimals"]),
            )
        )
        before = content


def _ratio(content: Mapping[str, Any], facts: PointFacts) -> Ratio:
    day = date.fromisoformat(content["day"])
    register = _registers_or_none(content["registers"], facts.decimals_on(day))
    at = day if content["at"] is None else _instant(content["at"])
    return Ratio(at, Decimal(content["ratio"]), content["rev"], register)


def _limit(content: Mapping[str, Any], _: PointFacts) -> Limit:
    day = date.fromisoformat(content["day"])
    return Limit(day, Decimal(content["max_daily_kwh"]), content["rev"])


def _clock_finding(content: Mapping[str, Any], _: PointFacts) -> ClockFinding:
    first = date.fromisoformat(content["first"])
    last = date.fromisoformat(content["last"])
    return ClockFinding(first, last, content["skew_s"], content["rev"])


def _finding(content: Mapping[str, Any], _: PointFacts) -> Finding:
    return Finding(
        code=content["code"],
        first=date.fromisoformat(content["first"]),
        last=date.fromisoformat(content["last"]),
        rev=content["rev"],
        is_active=content["active"],
    )


def _decision(content: Mapping[str, Any], facts: PointFacts) -> Decision:
    day = date.fromisoformat(content["day"])
    told = registers([content["total"], *content["rates"]], facts.decimals_on(day))
    return Decision(
        action=content["action"],
        day=day,
        total=told.total,
        number=content["number"],
        rolled_over=content["rolled_over"],
        method=content["method"],
        rates=told.rates,
        seen=_seen(content["seen"]),
    )


def _seen(content: Mapping[str, str] | None) -> SeenUse | None:
    """What `seen_content` wrote down."""
    if content is None:
        return None
    start = content["from"]
    is_day = len(start) == len("YYYY-MM-DD")
    at = date.fromisoformat(start) if is_day else _instant(start)
    return SeenUse(at, Decimal(content["kwh"]))


def seen_content(seen: SeenUse) -> dict[str, str]:
    """What a person saw who released a value, as JSON."""
    return {"from": seen.start.isoformat(), "kwh": f"{seen.kwh:f}"}


def _link_release(content: Mapping[str, Any], _: PointFacts) -> LinkRelease:
    agreed = content["agreed_kwh"]
    return LinkRelease(
        start=date.fromisoformat(content["from"]),
        end=date.fromisoformat(content["day"]),
        kwh=Decimal(content["shown_kwh"]),
        number=content["number"],
        agreed_kwh=None if agreed is None else Decimal(agreed),
    )


def _closing(content: Mapping[str, Any], facts: PointFacts) -> Closing:
    published = []
    for text, steps in sorted(content["published"].items()):
        day = date.fromisoformat(text)
        published.append((day, registers(steps, facts.decimals_on(day))))
    return Closing(date.fromisoformat(content["through"]), tuple(published))


_FACTS: Mapping[str, Callable[[Mapping[str, Any], PointFacts], Any]] = {
    "number": lambda content, _: content,
    "max_auto_span_days": lambda content, _: content,
    "first_day": lambda content, _: date.fromisoformat(content["day"]),
    "ratio": _ratio,
    "limit": _limit,
    "clock_setting": lambda content, _: ClockSetting(content["clock"], content["rev"]),
    "clock_finding": _clock_finding,
    "finding": _finding,
    "decision": _decision,
    "link_release": _link_release,
    "closing": _closing,
}


def _read(row: ReadRow, zone: ZoneInfo) -> Read:
    offset_ms = row.host_offset_ms
    return Read(
        day=row.day,
        registers=registers([row.total, *row.rates], row.decimals),
        read_at=row.arrived_at,
        source=str(row.source),
        stamp=None if row.stamp is None else row.stamp.astimezone(zone).replace(tzinfo=None),
        serial=row.serial or row.address,
        skew_s=row.clock_skew_s,
        # Away from midnight to the whole second: what it can mean in energy is not made smaller.
        host_offset_s=None if offset_ms is None else _away_from_zero(offset_ms),
    )


def _away_from_zero(offset_ms: int) -> int:
    whole_s = ceil(abs(offset_ms) / 1000)
    return whole_s if offset_ms >= 0 else -whole_s


def _registers_or_none(steps: Sequence[int | None] | None, decimals: int) -> Registers | None:
    return None if steps is None else registers(steps, decimals)


def _kwh(steps: int, decimals: int) -> Decimal:
    return Decimal(steps).scaleb(-decimals)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
