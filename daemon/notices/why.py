"""Why a point is dark, or that it is not: one cause with its evidence (R108). Pure.

Nothing is guessed from a command: what a meter said, and when, is the evidence (I14)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from config.notice_texts import NoticeTexts
from daemon.notices.wording import minute, yuan

Cause = Literal[
    "safety",
    "theft",
    "customer_request",
    "order_over",
    "former_customer",
    "cut",
    "kept_off",
    "left_dark",
    "restore_due",
    "trip",
    "reconnect",
    "button",
    "foreign_open",
    "planned_outage",
    "line_down",
    "area_silent",
    "meter_silent",
    "on",
    "never_read",
    "no_meter",
    "unknown",
]
ENDED_BY_US: Final = frozenset(
    {"order_over", "former_customer", "cut", "restore_due", "trip", "reconnect"}
)
"""By a frame, and none leaves in shadow mode."""
MOST_SILENT_ALONE: Final = 1
"""Of an area: one silent meter says something of itself only."""
SILENT_SHARE: Final = 0.8
"""Of an area's meters: where so many are silent it is the area that has no power."""
FRESH: Final = timedelta(hours=36)
"""A meter that was heard since then had power; older, its silence would be news to nobody."""


@dataclass(frozen=True, slots=True)
class PointSupply:
    """What is known of a point's supply. The fields are the columns of the statement that loads it.

    `cut_at`: when the last trip that may have reached the meter was sent. `command_at`: when the
    newest command was made. `heard_at`: when the meter told something last; `asked_at`: when it was
    last asked in vain, if nothing was heard since. `area_meters`, `area_silent`: of the meters that
    serve points of its area, and how many of them were asked in vain since they were heard."""

    point: str
    account: str | None
    area: str
    reconnect: str
    supply_state: str
    relay_observed: str
    relay_observed_at: datetime | None
    balance_fen: int
    reconnect_fen: int
    address: str | None
    line: str | None
    cut_at: datetime | None
    command_at: datetime | None
    command_state: str | None
    heard_at: datetime | None
    asked_at: datetime | None
    area_meters: int
    area_silent: int
    line_down_since: datetime | None
    line_down_reason: str | None
    outage_from: datetime | None
    outage_to: datetime | None
    outage_reason: str | None
    off_since: datetime | None
    """Since when somebody keeps it off who works there."""
    off_reason: str | None
    cut_for: str = "arrears"
    ordered: Literal["safety", "theft", "customer_request"] | None = None
    """For what two persons ordered it off; `ordered_at`: since when."""
    ordered_at: datetime | None = None
    order_reason: str | None = None
    must_be_on: bool = False
    """It is protected, or somebody there depends on supply."""
    visit_at: datetime | None = None
    """Since when somebody has to go there with the written notice."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why a point is dark, with what speaks for it. Times are aware."""

    cause: Cause
    point: str
    account: str | None
    seen_at: datetime
    """When it was looked at: what it says may be another a moment later (D7)."""
    sentence: str
    evidence: tuple[str, ...]
    missing_fen: int
    """What is to be paid until the supply is restored; 0 where money is not the cause."""


def why(
    known: PointSupply,
    texts: NoticeTexts,
    zone: ZoneInfo,
    now: datetime,
    *,
    shadow_mode: bool = False,
) -> Why:
    """The cause, in one sentence of the language of `texts`."""
    cause = cause_of(known, now, shadow_mode=shadow_mode)
    is_cut_for_money = cause in ("cut", "trip")
    values = _values(cause, known, zone) | {
        "how_to_restore": texts.fill("how_to_restore", known.reconnect, {})
    }
    return Why(
        cause=cause,
        point=known.point,
        account=known.account,
        seen_at=now,
        sentence=texts.fill("why", cause, values),
        evidence=tuple(_evidence(cause, known, texts, zone)),
        missing_fen=missing_fen(known) if is_cut_for_money else 0,
    )


def missing_fen(known: PointSupply) -> int:
    """What is missing to the balance at which the supply is restored."""
    return max(known.reconnect_fen - known.balance_fen, 0)


def cause_of(known: PointSupply, now: datetime, *, shadow_mode: bool = False) -> Cause:
    """The first that applies: what we did, what others did, then what silence means."""
    ours = _ours(known)
    if shadow_mode and ours in ENDED_BY_US:
        return "left_dark"
    return ours or _others(known, now) or _silence(known) or _heard(known, now)


def _ours(known: PointSupply) -> Cause | None:
    is_on = known.supply_state == "energised" and known.relay_observed != "open"
    if known.ordered is not None and not is_on:
        return known.ordered
    is_kept_off = known.off_since is not None
    match known.supply_state:
        case "disconnected" if known.cut_for != "arrears":
            if is_kept_off:
                return "kept_off"
            return "former_customer" if known.cut_for == "former_customer" else "order_over"
        case "disconnected" if missing_fen(known):
            return "cut"
        # Paid, and somebody who works there keeps it off: no reconnect leaves, nor has anybody to
        # press the button.
        case "disconnected" | "reconnect_commanded" | "wait_customer_button" if is_kept_off:
            return "kept_off"
        case "disconnected":
            return "restore_due"
        case "trip_commanded":
            return "trip"
        case "reconnect_commanded":
            return "reconnect"
        case "wait_customer_button":
            return "button"
    return None


def _others(known: PointSupply, now: datetime) -> Cause | None:
    if known.relay_observed == "open":
        return "foreign_open" if known.off_since is None else "kept_off"
    if known.outage_from is not None and known.outage_from <= now:
        return "planned_outage"
    return None


def _silence(known: PointSupply) -> Cause | None:
    if known.address is None:
        return "no_meter"
    if known.line_down_since is not None:
        return "line_down"
    if known.asked_at is None:
        return None
    is_area = known.area_silent > max(MOST_SILENT_ALONE, SILENT_SHARE * known.area_meters - 1)
    if known.area and is_area:
        return "area_silent"
    return "never_read" if known.heard_at is None else "meter_silent"


def _heard(known: PointSupply, now: datetime) -> Cause:
    """Of a meter that nobody asked in vain."""
    if known.heard_at is None:
        return "never_read"
    return "on" if now - known.heard_at <= FRESH else "unknown"


def _values(cause: Cause, known: PointSupply, zone: ZoneInfo) -> dict[str, str]:
    """What blanks of any sentence stand for; those that its cause does not have are empty."""
    since = {
        "disconnected": known.cut_at,
        "trip_commanded": known.command_at,
        "reconnect_commanded": known.command_at,
        "wait_customer_button": known.command_at,
    }.get(known.supply_state, known.outage_from or known.line_down_since)
    if cause == "kept_off":
        since = known.off_since
    elif cause == known.ordered:
        since = known.ordered_at
    return {
        "since": _minute(since, zone),
        "until": _minute(known.outage_to, zone),
        "seen": _minute(known.relay_observed_at, zone),
        "heard": _minute(known.heard_at, zone),
        "balance": yuan(known.balance_fen),
        "missing": yuan(missing_fen(known)),
        "reason": _reason(cause, known),
        "line": known.line or "",
        "address": known.address or "",
        "area": known.area,
        "meters": str(known.area_meters),
        "silent": str(known.area_silent),
    }


def _reason(cause: Cause, known: PointSupply) -> str:
    """What somebody, or the line, gave as the reason."""
    if cause == "kept_off":
        return known.off_reason or ""
    if cause == known.ordered:
        return known.order_reason or ""
    return known.outage_reason or known.line_down_reason or ""


def _evidence(
    cause: Cause, known: PointSupply, texts: NoticeTexts, zone: ZoneInfo
) -> Iterator[str]:
    if known.relay_observed in ("open", "closed"):
        key = f"relay_{known.relay_observed}"
        yield texts.fill("evidence", key, {"at": _minute(known.relay_observed_at, zone)})
    if known.address is not None:
        key = "never_heard" if known.heard_at is None else "heard"
        yield texts.fill("evidence", key, {"at": _minute(known.heard_at, zone)})
    if known.asked_at is not None:
        yield texts.fill("evidence", "asked", {"at": _minute(known.asked_at, zone)})
    if known.command_at is not None and known.command_state is not None:
        state = texts.fill("command", known.command_state, {})
        yield texts.fill(
            "evidence", "command", {"at": _minute(known.command_at, zone), "state": state}
        )
    hinders = {"line_down": known.line_down_since, "kept_off": known.off_since}
    for key, since in hinders.items():
        if since is not None and cause != key and known.supply_state != "energised":
            values = {"line": known.line or "", "at": _minute(since, zone)}
            yield texts.fill("evidence", key, values)
    if known.ordered == "safety" and known.must_be_on:
        yield texts.fill("evidence", "safety_all_the_same", {})
    if known.visit_at is not None:
        yield texts.fill("evidence", "visit", {"at": _minute(known.visit_at, zone)})


def _minute(at: datetime | None, zone: ZoneInfo) -> str:
    return "-" if at is None else minute(at, zone)
