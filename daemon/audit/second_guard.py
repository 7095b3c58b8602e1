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
ALWAYS: Final = frozenset(
    [
        *("PROTECTED", "LIFE_SUPPORT", "HOLD", "LOCKED", "BREAKER_OPEN", "SHADOW_MODE"),
        *("RECONNECT_PENDING", "RESTORE_CAPACITY", "SOURCE_CHANGED", "CLOCK_UNSURE"),
        *("NO_RELAY", "ALREADY_OPEN", "DEVICE_KEEP_POWER", "COMM_UNSTABLE", "APPROVAL_MISSING"),
    ]
)
"""What speaks against a cut that two persons ordered, for safety too."""
CAN_WAIT: Final = frozenset(
    ["WINDOW_CLOSED", "NONWORKING_DAY", "EVE_OF_NONWORKING", "WEATHER", "DISPUTE"]
)
"""What speaks against it unless it is for safety."""
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
        *_of_money(policy, facts),
        *_of_readings(policy, facts),
        *_of_people(facts),
        *_of_device(policy, facts),
        *_of_daemon(policy, facts),
        *_of_calendar(policy, facts),
        *_of_notices(policy, facts),
    }
    if _approvers(facts) < _asked_for(policy, facts):
        reasons.add("APPROVAL_MISSING")
    reasons = _that_count(facts["cause"], reasons)
    return SecondOpinion(_decision(reasons), tuple(sorted(reasons)))


def _that_count(cause: str, reasons: set[str]) -> set[str]:
    match cause:
        case "arrears":
            return reasons
        case "safety":
            return reasons & ALWAYS
        case "theft" | "customer_request":
            return reasons & (ALWAYS | CAN_WAIT)
    raise ValueError(f"nobody is cut for {cause}")


def _decision(reasons: set[str]) -> Decision:
    if not reasons:
        return "allow"
    return "needs_approval" if reasons == {"APPROVAL_MISSING"} else "deny"


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
    if facts["source_changed"]:
        yield "SOURCE_CHANGED"


def _of_people(facts: Document) -> Iterable[str]:
    for fact, reason in (
        ("protected", "PROTECTED"),
        ("life_support", "LIFE_SUPPORT"),
        ("held", "HOLD"),
        ("locked", "LOCKED"),
        ("dispute_open", "DISPUTE"),
        ("payment_in_flight", "PAYMENT_IN_FLIGHT"),
        ("weather_hold", "WEATHER"),
        ("breaker_open", "BREAKER_OPEN"),
    ):
        if facts[fact]:
            yield reason


def _of_device(policy: Document, facts: Document) -> Iterable[str]:
    if facts["reconnect_pending"]:
        yield "RECONNECT_PENDING"
    if facts["failed_restores"] > policy["max_failed_restores"]:
        yield "RESTORE_CAPACITY"
    if not facts["has_relay"]:
        yield "NO_RELAY"
    if facts["relay_open"]:
        yield "ALREADY_OPEN"
    if facts["device_keep_power"]:
        yield "DEVICE_KEEP_POWER"
    if facts["planned_outage"] or not _was_seen(policy["max_relay_age"], facts):
        yield "COMM_UNSTABLE"
    ages = [_age(facts, moved) for moved in facts["relay_moves"]]
    for within, most in ((HOUR, policy["max_moves_per_hour"]), (DAY, policy["max_moves_per_day"])):
        if sum(age < within for age in ages) >= most:
            yield "RELAY_WEAR"


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
    running = facts["running_for"]
    if running is not None and running < policy["startup_hold"]:
        yield "STARTUP_HOLD"
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
    """How many persons have to agree: only an account with a single meter is left to the daemon,
    and what one ordered to another."""
    if facts["cause"] != "arrears":
        return 1
    asked: int = policy["approvals_required"]
    if facts["meters"] == 1:
        return asked
    of_several: int = policy["approvals_of_several"]
    return max(asked, of_several)


def _approvers(facts: Document) -> int:
    """How many persons agreed to this debt, who are not who asked."""
    debt = _debt(facts)
    agreed = {
        _plain_name(approval["approver"])
        for approval in facts["approvals"]
        if _age(facts, approval["approved_at"]) >= 0
        and _age(facts, approval["expires_at"]) < 0
        and (
            facts["cause"] != "arrears"
            or 10 * abs(debt - approval["debt_fen"]) <= abs(approval["debt_fen"])
        )
    }
    return len(agreed - {_plain_name(facts["requested_by"])})


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
