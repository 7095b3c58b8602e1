"""Worked cases of the guard: JSON in, its decision out (control.md, trip_guard JSON)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from config.problems import quoted
from daemon.control.guard import APPROVAL_LASTS, Approval, Facts, Notice, Policy, evaluate
from daemon.quality.case_fields import CaseError, Fields

HOURS: Final = {
    "max_reading_age_h": "max_reading_age",
    "written_min_h": "written_min",
    "written_max_h": "written_max",
    "final_max_h": "final_max",
}
MINUTES: Final = {"final_min_min": "final_min", "startup_hold_min": "startup_hold"}
RUNNING_FOR: Final = "running_for_min"
"""A fact: so many minutes ago the daemon was started; without it none runs."""
MOMENTS: Final = (
    "now",
    "last_reading_at",
    "episode_started_at",
    "span_grace_until",
    "relay_seen_at",
    "clock_stepped_at",
)
REQUIRED: Final = ("now", "balance_fen", "trip_threshold_fen")
UNKNOWN: Final[dict[str, Any]] = {"account_state": "unknown", "reading_state": "unknown"}
"""What a case does not say speaks against a cut."""
SIGNED: Final = ("balance_fen", "trip_threshold_fen")
"""Any other sum or number is none below 0: credit never raises the floor."""
MOST_TIME: Final = 10**6
"""Of hours or minutes: a century of hours is a slip."""
END_OF_DAY: Final = "24:00"


def decided(given: Fields) -> dict[str, Any]:
    """What a case of kind `trip_guard` comes to. CaseError: it is not understood."""
    policy = _policy(given.inside("config"))
    verdict = evaluate(policy, _facts(given.inside("facts")))
    return {"decision": verdict.decision, "reasons": list(verdict.reasons)}


def _policy(config: Fields) -> Policy:
    given: dict[str, Any] = {}
    for name in config.names():
        if name in HOURS:
            given[HOURS[name]] = timedelta(hours=_some_time(config, name))
        elif name in MINUTES:
            given[MINUTES[name]] = timedelta(minutes=_some_time(config, name))
        elif name in ("holidays", "makeup_workdays"):
            given[name] = frozenset(_day(text) for text in config.texts(name))
        elif name in _named(Policy, "int"):
            given[name] = config.count(name)
        elif name == "window":
            window = config.inside(name)
            given["window_start"] = _clock(window, "start")
            given["window_end"] = _clock(window, "end")
        elif name in _named(Policy, "bool"):
            given[name] = config.flag(name)
        else:
            raise config.error(name, "is not known")
    return Policy(**given)


def _facts(facts: Fields) -> Facts:
    names = facts.names()
    approvers = facts.texts("approved_by")
    named = [name for name in names if name not in ("approved_by", RUNNING_FOR)]
    given = UNKNOWN | {name: _fact(facts, name) for name in named}
    if RUNNING_FOR in names:
        given["running_for"] = timedelta(minutes=_some_time(facts, RUNNING_FOR))
    missing = [it for it in REQUIRED if given.get(it) is None]
    if missing:
        raise facts.error(missing[0], "is missing")
    if len({it.tzinfo is None for it in _moments(given)}) > 1:
        raise facts.error("now", "has an offset and other times have none, or the other way round")
    found = Facts(**given)
    return replace(found, approvals=tuple(_approval(it, found) for it in approvers))


def _fact(facts: Fields, name: str) -> Any:
    if name in MOMENTS:
        return facts.time_as_written(name)
    if name == "notices":
        return tuple(map(_notice, facts.each(name)))
    if name in UNKNOWN:
        return facts.text(name, None) or UNKNOWN[name]
    if name == "requested_by":
        return facts.text(name)
    if name in _named(Facts, "int"):
        return facts.integer(name) if name in SIGNED else facts.count(name)
    if name in _named(Facts, "bool"):
        return facts.flag(name)
    raise facts.error(name, "is not known")


def _approval(approver: str, facts: Facts) -> Approval:
    """Of now and of this debt: cases name who approved, and no more."""
    return Approval(approver, facts.now, facts.now + APPROVAL_LASTS, facts.debt_fen)


def _notice(given: Fields) -> Notice:
    return Notice(
        given.choice("kind", ("written", "final")),
        given.time_as_written("delivered_at"),
        given.time_as_written("planned_at"),
    )


def _moments(given: dict[str, Any]) -> Iterator[datetime]:
    yield from (given[name] for name in MOMENTS if given.get(name))
    for notice in given.get("notices", ()):
        yield from (it for it in (notice.delivered_at, notice.planned_at) if it)


def _named(of: type[Policy] | type[Facts], kind: str) -> set[str]:
    """The fields of a type."""
    return {it.name for it in fields(of) if it.type == kind}


def _some_time(config: Fields, name: str) -> int:
    found = config.count(name)
    if found > MOST_TIME:
        raise config.error(name, f"{found} is more than {MOST_TIME}")
    return found


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CaseError(f"input.config: {quoted(text)} is not a day, as 2026-03-01") from None


def _clock(window: Fields, name: str) -> time:
    text = window.text(name)
    if text == END_OF_DAY:
        return time.max
    try:
        clock = time.fromisoformat(text)
        if clock.tzinfo is None:
            return clock
    except ValueError:
        pass
    raise window.error(name, f"{quoted(text)} is no time of day, as 09:00")
