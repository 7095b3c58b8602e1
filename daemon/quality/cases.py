"""Cases of kind `judge`: facts in order of arrival, and what is judged after each of them.

judgement.md section 9 says what they look like. They need no daemon and no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from config.problems import quoted
from daemon.quality.acceptance import closing, refusal
from daemon.quality.case_fields import CaseError, Fields
from daemon.quality.facts import (
    MAX_AUTO_SPAN_DAYS,
    Clock,
    ClockFinding,
    ClockSetting,
    Decision,
    Fact,
    Facts,
    Finding,
    Installation,
    Limit,
    Ratio,
    Read,
    with_fact,
)
from daemon.quality.judge import judge
from daemon.quality.verdict import DayState, Link, Verdict, changed_days, withdrawn

KIND: Final = "judge"
CLOCKS: Final[tuple[Clock, ...]] = ("zone", "standard")


def result_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """What a case comes to, in the shape of its `expected`, which is not looked at.

    CaseError: the case is not understood."""
    fields = Fields(case)
    kind = fields.text("kind", KIND)
    if kind != KIND:
        raise CaseError(f"kind: {quoted(kind)} is not a kind that can be tried (only {KIND!r})")
    given = fields.inside("input")
    events = given.each("events")
    steps = []
    facts = _first_facts(given)
    verdict = judge(facts)
    for number, event in enumerate(events):
        step: dict[str, Any] = {"event": number}
        facts, refused = _after(facts, event, number)
        if refused is not None:
            step["refused"] = refused
        before = verdict
        verdict = judge(facts)
        changed = changed_days(before, verdict)
        step["days"] = {str(day): _day(state) for day, state in changed.items()}
        if lost := withdrawn(before, verdict):
            step["withdrawn"] = [[str(day), f"{total:f}"] for day, total in lost]
        steps.append(step)
    return {"steps": steps, **_end(verdict, facts.zone)}


def _first_facts(given: Fields) -> Facts:
    zone = given.zone("timezone")
    clock = given.choice("clock", CLOCKS, "zone")
    return Facts(
        zone=zone,
        installations=tuple(_installation(it, zone, "from") for it in given.each("installations")),
        ratios=tuple(_ratio(it, zone, "from") for it in given.each("ratios")),
        limits=tuple(_limit(it) for it in given.each("limits")),
        # What stands in the files is older than every event.
        clock_settings=(ClockSetting(clock, rev=-1),),
        max_auto_span_days=given.integer("max_auto_span_days", MAX_AUTO_SPAN_DAYS),
    )


def _after(facts: Facts, event: Fields, number: int) -> tuple[Facts, str | None]:
    """The facts with this event, or as they were and why it was refused."""
    kind = event.choice("type", tuple(_EVENTS))
    if kind == "second_read" and event.flag("refused"):
        return replace(facts, refused=facts.refused | {event.day("day")}), None
    if kind == "close":
        return with_fact(facts, closing(facts, event.day("through"))), None
    fact = _EVENTS[kind](event, facts.zone, number)
    if isinstance(fact, Decision | Installation | Ratio):
        refused = refusal(facts, fact)
        if refused is not None:
            return facts, refused
    return with_fact(facts, fact), None


def _read(event: Fields, zone: ZoneInfo, _number: int) -> Fact:
    return Read(
        day=event.day("day"),
        registers=event.registers("registers"),
        read_at=event.moment("read_at", zone),
        source=event.text("source", "line"),
        stamp=event.wall_time("stamp"),
        serial=event.text("serial", None),
        skew_s=event.integer("skew_s", None),
        host_offset_s=event.integer("host_offset_s", None),
    )


def _installation(given: Fields, zone: ZoneInfo, at: str) -> Installation:
    decimals = given.whole("decimals")
    return Installation(
        at=given.moment(at, zone),
        serial=given.text("serial"),
        modulus=given.positive("modulus"),
        decimals=decimals,
        wire_decimals=given.whole("wire_decimals", decimals),
        initial=given.registers_or_none("initial"),
        old_final=given.registers_or_none("old_final"),
    )


def _ratio(given: Fields, zone: ZoneInfo, at: str) -> Ratio:
    return Ratio(
        at=given.day_or_moment(at, zone),
        ratio=given.positive("ratio"),
        rev=given.integer("rev", 0),
        register=given.registers_or_none("register"),
    )


def _limit(given: Fields) -> Limit:
    return Limit(given.day("from"), given.positive("max_daily_register"), given.integer("rev", 0))


def _clock_finding(event: Fields, _zone: ZoneInfo, _number: int) -> Fact:
    first, last = event.span_of_days("from", "to")
    return ClockFinding(
        first=first,
        last=last,
        skew_s=event.integer("skew_s", None),
        rev=event.integer("rev", 0),
    )


def _finding(event: Fields, _zone: ZoneInfo, _number: int) -> Fact:
    first, last = event.span_of_days("from", "to")
    return Finding(
        code=event.text("code"),
        first=first,
        last=last,
        rev=event.integer("rev", 0),
        is_active=event.flag("active", default=True),
    )


def _setting(event: Fields, _zone: ZoneInfo, _number: int) -> Fact:
    return ClockSetting(event.choice("clock", CLOCKS), event.integer("rev", 0))


def _decision(event: Fields, _zone: ZoneInfo, number: int) -> Fact:
    return Decision(
        action=event.choice("action", ("release", "reject", "withdraw", "substitute")),
        day=event.day("day"),
        total=event.decimal("total"),
        number=number,
        rolled_over=event.flag("rollover"),
        method=event.text("method", None),
    )


_EVENTS: Final[Mapping[str, Callable[[Fields, ZoneInfo, int], Fact]]] = {
    "value": _read,
    "second_read": _read,
    "limit": lambda event, zone, number: _limit(event),
    "clock_finding": _clock_finding,
    "setting": _setting,
    "finding": _finding,
    "exchange": lambda event, zone, number: _installation(event, zone, "at"),
    "ratio": lambda event, zone, number: _ratio(event, zone, "at"),
    "operator": _decision,
    "close": _decision,
}


def _end(verdict: Verdict, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "days": {str(day): _day(state) for day, state in verdict.days.items()},
        "chain": [[_at(it.at, zone), f"{it.total:f}"] for it in verdict.chain],
        "links": [_link(it, zone) for it in verdict.links],
    }


def _day(state: DayState) -> dict[str, Any]:
    told = {"state": state.state, "value": f"{state.total:f}", "codes": list(state.codes)}
    return told if state.next_step is None else {**told, "next": state.next_step}


def _link(link: Link, zone: ZoneInfo) -> dict[str, str]:
    told = {"from": _at(link.start, zone), "to": _at(link.end, zone)}
    if link.kwh is not None:
        told["kwh"] = _plain(link.kwh)
    return told if link.held is None else {**told, "held": link.held}


def _at(at: date | datetime, zone: ZoneInfo) -> str:
    if not isinstance(at, datetime):
        return str(at)
    local = at.astimezone(zone).replace(tzinfo=None)
    return local.isoformat(timespec="seconds" if local.second else "minutes")


def _plain(number: Decimal) -> str:
    """Without trailing zeros, and never with an exponent."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
