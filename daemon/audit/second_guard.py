"""May this be cut? Asked a second time, of the document that was kept.

Written from the rules (docs/supply.md, "The stored snapshot") without sight of the guard that
decides (`daemon/control`), and sharing nothing with it: what one of them understands wrongly the
other hardly does too. It reads the document as it stands in the database, so what was left out when
it was written is missed here. No clock, no connection."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

Decision = Literal["allow", "deny", "needs_approval"]
Document = Mapping[str, Any]

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
ANNOUNCED: Final = 4 * HOUR
"""A cut that was announced for a moment comes within so long of it (R82)."""
TRUSTED: Final = frozenset({"published", "substituted_approved"})
LASTS: Final = 4 * HOUR
"""So long a person's word lasts that somebody may be cut."""
NOBODY: Final = frozenset({"", "daemon"})
"""Who acts where no person does."""
MIDNIGHT: Final = "23:59:59.999999"
"""As a window that lasts to the end of the day is kept."""


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """What follows from a document: the decision, and every reason against a cut, sorted."""

    decision: Decision
    reasons: tuple[str, ...]


def second_opinion(document: Document) -> SecondOpinion:
    """Of `{"policy": {...}, "facts": {...}}`. KeyError or ValueError when it is no snapshot."""
    policy, facts = document["policy"], document["facts"]
    reasons = {
        *_of_protection(facts),
        *_of_device(policy, facts),
        *_of_daemon(policy, facts),
    }
    match facts["cause"]:
        case "arrears":
            reasons.update(_of_patience(policy, facts), _of_debt(policy, facts))
        case "theft" | "customer_request":
            reasons.update(_of_patience(policy, facts), _of_two_persons(facts))
        case "safety":
            reasons.update(_of_two_persons(facts))
        case other:
            raise ValueError(f"nobody is cut for {other}")
    return SecondOpinion(_decision(reasons), tuple(sorted(reasons)))


def _decision(reasons: set[str]) -> Decision:
    if not reasons:
        return "allow"
    return "needs_approval" if reasons == {"APPROVAL_MISSING"} else "deny"


def _of_protection(facts: Document) -> Iterable[str]:
    """What no person overrides, but who takes the mark away (I9, R98)."""
    for fact, reason in (
        ("protected", "PROTECTED"),
        ("life_support", "LIFE_SUPPORT"),
        ("held", "HOLD"),
        ("locked", "LOCKED"),
        ("breaker_open", "BREAKER_OPEN"),
    ):
        if facts[fact]:
            yield reason


def _of_device(policy: Document, facts: Document) -> Iterable[str]:
    """What speaks against a frame to this relay: what it does would not be seen, or not undone."""
    if facts["reconnect_pending"]:
        yield "RECONNECT_PENDING"
    if facts["failed_restores"] > policy["max_failed_restores"]:
        yield "RESTORE_CAPACITY"
    if facts["source_changed"]:
        yield "SOURCE_CHANGED"
    if not facts["has_relay"]:
        yield "NO_RELAY"
    if facts["relay_open"]:
        yield "ALREADY_OPEN"
    if facts["device_keep_power"]:
        yield "DEVICE_KEEP_POWER"
    if facts["planned_outage"] or not _was_seen(policy["max_relay_age"], facts):
        yield "COMM_UNSTABLE"


def _was_seen(within: float | None, facts: Document) -> bool:
    """Whether the relay answered so lately that it will be found again."""
    if within is None:
        return True
    seen = facts["relay_seen_at"]
    return seen is not None and _age(facts, seen) <= within


def _of_daemon(policy: Document, facts: Document) -> Iterable[str]:
    acts = facts["shadow_mode"] is False and policy["shadow"] is False
    if not acts:
        yield "SHADOW_MODE"
    if not _clocks_agree(policy, facts):
        yield "CLOCK_UNSURE"


def _clocks_agree(policy: Document, facts: Document) -> bool:
    apart, stepped, last = (
        facts["clocks_apart"],
        facts["clock_stepped_at"],
        facts["last_reading_at"],
    )
    return (
        abs(apart) <= policy["max_clocks_apart"]
        and (stepped is None or _age(facts, stepped) >= HOUR)
        and (last is None or _age(facts, last) >= 0)
    )


def _of_patience(policy: Document, facts: Document) -> Iterable[str]:
    """What passes or is settled: only a cut that keeps somebody from harm does not wait for it."""
    yield from _of_calendar(policy, facts)
    if facts["weather_hold"]:
        yield "WEATHER"
    if facts["dispute_open"]:
        yield "DISPUTE"
    # R99: no trip at all, whatever it is for.
    running = facts["running_for"]
    if running is not None and running < policy["startup_hold"]:
        yield "STARTUP_HOLD"


def _of_calendar(policy: Document, facts: Document) -> Iterable[str]:
    now = _local(facts)
    start, end = policy["window_start"], policy["window_end"]
    is_over = end != MIDNIGHT and now.time() >= time.fromisoformat(end)
    if now.time() < time.fromisoformat(start) or is_over:
        yield "WINDOW_CLOSED"
    if policy["working_days_only"] and not _is_worked(now.date(), policy):
        yield "NONWORKING_DAY"
    if policy["no_trip_on_eve"] and not _is_worked(now.date() + timedelta(days=1), policy):
        yield "EVE_OF_NONWORKING"


def _is_worked(day: date, policy: Document) -> bool:
    """What is named as worked is, whatever it is besides."""
    named = day.isoformat()
    if named in policy["makeup_workdays"]:
        return True
    return day.isoweekday() <= 5 and named not in policy["holidays"]


def _of_two_persons(facts: Document) -> Iterable[str]:
    """Whoever is cut for another reason than money: one person asked, another agreed lately."""
    if _plain_name(facts["requested_by"]) in NOBODY or not _agreed(facts):
        yield "APPROVAL_MISSING"


def _of_debt(policy: Document, facts: Document) -> Iterable[str]:
    """What speaks against a cut because somebody owes."""
    yield from _of_money(policy, facts)
    yield from _of_readings(policy, facts)
    yield from _of_wear(policy, facts)
    yield from _of_notices(policy, facts)
    agreed = _agreed(facts, lambda approval: _is_of_this_debt(approval, facts))
    if len(agreed) < _asked_for(policy, facts):
        yield "APPROVAL_MISSING"


def _debt(facts: Document) -> int:
    """Fen from the balance up to the floor; nothing or less where the floor is reached."""
    lent = facts["credit_limit_fen"] + facts["emergency_available_fen"]
    return int(facts["trip_threshold_fen"] - lent - facts["balance_fen"])


def _of_money(policy: Document, facts: Document) -> Iterable[str]:
    debt = _debt(facts)
    if debt <= 0:
        yield "BALANCE_OK"
    elif debt < policy["min_debt_fen"]:
        yield "DEBT_TOO_SMALL"
    if facts["payment_in_flight"]:
        yield "PAYMENT_IN_FLIGHT"
    if facts["account_state"] != "active":
        yield "ACCOUNT_NOT_ACTIVE"
    if not facts["has_agreement"]:
        yield "NO_AGREEMENT"
    if facts["correction_open"]:
        yield "CORRECTION_OPEN"
    began = facts["tariff_from"]
    if began is not None:
        days = (_local(facts).date() - date.fromisoformat(began)).days
        if days < policy["new_tariff_days"]:
            yield "TARIFF_UNAPPROVED"
    grace = facts["span_grace_until"]
    if grace is not None and _age(facts, grace) < 0:
        yield "SPAN_GRACE"


def _of_readings(policy: Document, facts: Document) -> Iterable[str]:
    if facts["reading_state"] not in TRUSTED:
        yield "READING_NOT_PUBLISHED"
    last = facts["last_reading_at"]
    if last is None or _age(facts, last) > policy["max_reading_age"]:
        yield "STALE_READING"
    if facts["use_jump"]:
        yield "USE_JUMP"


def _of_wear(policy: Document, facts: Document) -> Iterable[str]:
    ages = [_age(facts, moved) for moved in facts["relay_moves"]]
    for within, most in ((HOUR, policy["max_moves_per_hour"]), (DAY, policy["max_moves_per_day"])):
        if sum(age < within for age in ages) >= most:
            yield "RELAY_WEAR"


def _of_notices(policy: Document, facts: Document) -> Iterable[str]:
    for kind, prefix in (("written", ""), ("final", "FINAL_")):
        if policy[f"{kind}_required"]:
            limits = policy[f"{kind}_min"], policy[f"{kind}_max"]
            found = [
                _standing(notice, limits, facts)
                for notice in facts["notices"]
                if notice["kind"] == kind and _counts(notice, facts)
            ]
            if "good" not in found:
                worst = "TOO_RECENT" if "early" in found else "EXPIRED" if found else "MISSING"
                yield f"{prefix}NOTICE_{worst}"


def _counts(notice: Document, facts: Document) -> bool:
    """Whether it was delivered, and in this episode."""
    delivered, began = notice["delivered_at"], facts["episode_started_at"]
    return (
        delivered is not None
        and began is not None
        and _instant(began) <= _instant(delivered) <= _instant(facts["now"])
    )


def _standing(
    notice: Document, limits: tuple[float, float], facts: Document
) -> Literal["early", "good", "late"]:
    age, planned = _age(facts, notice["delivered_at"]), notice["planned_at"]
    to_go = None if planned is None else -_age(facts, planned)
    if age > limits[1] or (to_go is not None and to_go < -ANNOUNCED):
        return "late"
    if age < limits[0] or (to_go is not None and to_go > 0):
        return "early"
    return "good"


def _asked_for(policy: Document, facts: Document) -> int:
    """How many persons have to agree: only an account with a single meter is left to the daemon."""
    asked: int = policy["approvals_required"]
    if facts["meters"] == 1:
        return asked
    of_several: int = policy["approvals_of_several"]
    return max(asked, of_several)


def _agreed(facts: Document, counts: Callable[[Document], bool] = lambda _: True) -> set[str]:
    """Persons who agreed within the last four hours, other than who asked."""
    persons = {
        _plain_name(approval["approver"])
        for approval in facts["approvals"]
        if 0 <= _age(facts, approval["approved_at"]) < LASTS
        and _age(facts, approval["expires_at"]) < 0
        and counts(approval)
    }
    return persons - NOBODY - {_plain_name(facts["requested_by"])}


def _is_of_this_debt(approval: Document, facts: Document) -> bool:
    """Whether it is not of an earlier episode, and of a debt that differs by a tenth at most."""
    began, agreed_fen = facts["episode_started_at"], approval["debt_fen"]
    is_of_another = began is not None and _instant(approval["approved_at"]) < _instant(began)
    return not is_of_another and 10 * abs(_debt(facts) - agreed_fen) <= abs(agreed_fen)


def _local(facts: Document) -> datetime:
    return _instant(facts["now"]).astimezone(_zone(facts["zone"]))


def _age(facts: Document, moment: str) -> float:
    """Seconds from a moment to the verdict; below zero for one to come."""
    return (_instant(facts["now"]) - _instant(moment)).total_seconds()


@lru_cache(4096)
def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} is no instant: it has no offset")
    return instant


_zone: Final[Callable[[str], ZoneInfo]] = ZoneInfo


def _plain_name(name: str) -> str:
    """Full width, capitals and blanks make nobody another person."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()
