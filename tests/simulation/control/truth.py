"""What is true of a point by the rows themselves, as the document that the second guard reads.

Written from docs/supply.md and the rows, without what the daemon makes of them: a fact that the
daemon forgets to look at is a trip that this denies."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from operator import itemgetter
from typing import Any, Final

from daemon.audit.second_guard import second_opinion
from daemon.control.guard import MAX_TRIPS_PER_MINUTE, Policy
from tests.simulation.control.model import Database, Row
from tests.simulation.control.processes import Daemon
from tests.simulation.control.statements import (
    A_WORD_LASTS,
    OPEN_STATES,
    groups_of,
    holds,
    is_of,
)

DAY: Final = timedelta(days=1)
BY_MARK: Final = {
    "payment_in_flight": "payment_in_flight",
    "weather_hold": "weather",
    "planned_outage": "planned_outage",
    "locked": "keep_power",
}


def reasons_against(database: Database, daemon: Daemon, point: int, now: datetime) -> set[str]:
    """Why this point may not be cut at this time, by what is committed."""
    row = database.tables["point"][point]
    account = database.tables["account"][row["account_id"]]
    policy = daemon.terms.profiles.get(account["profile"], daemon.terms.policy)
    document = {"policy": _policy(policy), "facts": _facts(database, daemon, point, now)}
    return set(second_opinion(document).reasons)


def marks_of(database: Database, point: int, now: datetime) -> set[str]:
    """Kinds of the marks that hold of a point."""
    row = database.tables["point"][point]
    marks = database.tables["mark"].values()
    return {mark["kind"] for mark in marks if holds(mark, now) and is_of(mark, point, row)}


def is_locked_off(database: Database, point: int, now: datetime) -> bool:
    """Whether somebody works there, or it is ordered off."""
    is_worked_on = "keep_off" in marks_of(database, point, now)
    return is_worked_on or order_of(database, point, now) is not None


def is_just_freed(database: Database, point: int, now: datetime) -> bool:
    """Whether it was kept off until less than ten minutes ago."""
    row = database.tables["point"][point]
    works = [
        (mark["from_at"], min(filter(None, (mark["lifted_at"], mark["to_at"])), default=None))
        for mark in database.tables["mark"].values()
        if mark["kind"] == "keep_off" and is_of(mark, point, row)
    ]
    orders = [
        (order["agreed_at"], order["ended_at"])
        for order in database.tables["order"].values()
        if order["point_id"] == point and order["agreed_at"]
    ]
    return any(
        to_at is not None and max(from_at, now - timedelta(minutes=10)) < to_at <= database.now()
        for from_at, to_at in works + orders
    )


def order_of(database: Database, point: int, now: datetime) -> Row | None:
    """The order by which a point is off: of two persons, not over, and about nobody who must be on
    unless it is for safety."""
    for row in database.tables["order"].values():
        is_agreed = row["agreed_at"] is not None and row["ended_at"] is None
        if row["point_id"] == point and is_agreed:
            counts = row["cause"] == "safety" or not must_be_on(database, point, now)
            return row if counts else None
    return None


def must_be_on(database: Database, point: int, now: datetime) -> bool:
    """Whether it is protected, or somebody there depends on supply."""
    row = database.tables["point"][point]
    marks = marks_of(database, point, now)
    return bool(row["protected"] or row["life_support"] or marks & {"protected", "life_support"})


def balance_of(database: Database, point: int) -> int:
    """Of the account of a point, in fen."""
    account = database.tables["point"][point]["account_id"]
    fen: int = database.tables["balance"].get(account, {"fen": 0})["fen"]
    return fen


def is_paid(database: Database, point: int) -> bool:
    """Whether its account is back at the threshold at which it is restored."""
    account = database.tables["account"][database.tables["point"][point]["account_id"]]
    return balance_of(database, point) >= int(account["reconnect_fen"])


def open_commands(database: Database) -> list[tuple[Any, Row]]:
    """Those that have not ended."""
    commands = database.tables["command"]
    return [(it["id"], commands[it["id"]]) for it in database.tables["open"].values()]


def _policy(policy: Policy) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in Policy.__slots__:
        value = getattr(policy, name)
        if isinstance(value, timedelta):
            value = value.total_seconds()
        elif isinstance(value, time):
            value = value.isoformat()
        elif isinstance(value, frozenset):
            value = [day.isoformat() for day in value]
        told[name] = value
    return told


def _facts(database: Database, daemon: Daemon, point: int, now: datetime) -> dict[str, Any]:
    tables = database.tables
    row = tables["point"][point]
    account = tables["account"][row["account_id"]]
    there = tables["supply"][point]
    marks = marks_of(database, point, now)
    episode = _episode(database, row["account_id"])
    order = order_of(database, point, now)
    return {
        "now": _told(now),
        "zone": daemon.terms.zone.key,
        "balance_fen": balance_of(database, point),
        "trip_threshold_fen": account["trip_fen"],
        "credit_limit_fen": account["credit_limit_fen"],
        "emergency_available_fen": 0,
        "account_state": account["state"],
        "has_agreement": account["agreement"] is not None,
        "reading_state": row["newest_state"] or "missing",
        "last_reading_at": _midnight(row, daemon),
        "span_grace_until": _told(account["span_grace_until"]),
        "use_jump": row["use_jump"],
        "correction_open": row["correction_open"],
        "tariff_from": account["tariff_from"] and account["tariff_from"].isoformat(),
        "episode_started_at": episode and _told(episode[1]["started_at"]),
        "notices": [
            {
                "kind": it["kind"],
                "delivered_at": _told(it["delivered_at"]),
                "planned_at": _told(it["planned_at"]),
            }
            for it in tables["notices"].get(episode and episode[0], {"told": ()})["told"]
        ],
        "protected": row["protected"] or "protected" in marks,
        "life_support": row["life_support"] or "life_support" in marks,
        "held": bool(marks & {"hold", "amnesty"}),
        "dispute_open": bool(marks & {"dispute", "wrongful_cut"}),
        **{name: kind in marks for name, kind in BY_MARK.items()},
        "reconnect_pending": any(
            it["action"] != "trip" and it["point_id"] == point for _, it in open_commands(database)
        ),
        "failed_restores": _overdue(database, now),
        "has_relay": row["has_relay"],
        "relay_open": there["relay_observed"] == "open",
        "cause": order["cause"] if order else "arrears",
        "device_keep_power": there["keep_power_observed"],
        "relay_seen_at": _told(there["relay_observed_at"]),
        "relay_moves": [
            _told(at)
            for at in tables["moves"].get(point, {"at": {}})["at"].values()
            if at > now - DAY
        ],
        "source_changed": _source_changed(database, daemon, point, now),
        "breaker_open": _breaker_open(database, row),
        "meters": len(account["points"]),
        "shadow_mode": daemon.terms.shadow_mode,
        "running_for": daemon.authority.running_for().total_seconds(),
        "clocks_apart": daemon.ahead.total_seconds(),
        "clock_stepped_at": _told(now) if daemon.host_clock.doubt else None,
        **(_ordered(order) if order else _asked(database, episode[0] if episode else None)),
    }


def _ordered(order: Row) -> dict[str, Any]:
    agreed = {
        "approver": order["second"],
        "approved_at": _told(order["agreed_at"]),
        "expires_at": _told(order["agreed_at"] + A_WORD_LASTS),
        "debt_fen": 0,
    }
    return {"requested_by": order["actor"], "approvals": [agreed]}


def _asked(database: Database, episode: int | None) -> dict[str, Any]:
    requests = [
        it
        for it in database.tables["request"].values()
        if it["episode_id"] == episode and it["withdrawn_at"] is None
    ]
    return {
        "requested_by": next((it["requester"] for it in requests), "daemon"),
        "approvals": [
            {
                "approver": given["approver"],
                "approved_at": _told(given["approved_at"]),
                "expires_at": _told(given["expires_at"]),
                "debt_fen": it["debt_fen"],
            }
            for it in requests
            for given in it["given"]
        ],
    }


def _episode(database: Database, account: int) -> tuple[int, Row] | None:
    found = [
        (number, it)
        for number, it in database.tables["episode"].items()
        if it["account_id"] == account and it["ended_at"] is None
    ]
    return found[0] if found else None


def _overdue(database: Database, now: datetime) -> int:
    return sum(
        row["action"] != "trip"
        and row["created_at"] <= now - timedelta(minutes=10)
        and row["state"] in OPEN_STATES
        and database.tables["supply"][row["point_id"]]["supply_state"] != "wait_customer_button"
        and not is_locked_off(database, row["point_id"], now)
        and not is_just_freed(database, row["point_id"], now)
        for _, row in open_commands(database)
    )


def _breaker_open(database: Database, point: Row) -> bool:
    minute_ago = database.now() - timedelta(minutes=1)
    sent = database.tables["sent_trips"].get("site", {"at": ()})["at"]
    is_open = any(
        it["reset_at"] is None and (it["scope"], it["name"]) in groups_of(point)
        for it in database.tables["breaker"].values()
    )
    return is_open or sum(at > minute_ago for at in sent) >= MAX_TRIPS_PER_MINUTE


def _source_changed(database: Database, daemon: Daemon, point: int, now: datetime) -> bool:
    """Who tells, or would get the frame, has been another within a day."""
    account = database.tables["point"][point]["account_id"]
    for number in database.tables["account"][account]["points"]:
        name = database.tables["point"][number]["line"]
        tellers = database.tables["teller"].values()
        told = sorted((it for it in tellers if it["line"] == name), key=itemgetter("first_at"))
        lately = {it["identity"] for it in told if it["first_at"] > now - DAY}
        before = [it["identity"] for it in told if it["first_at"] <= now - DAY][-1:]
        if len(lately | set(before)) > 1:
            return True
        line = daemon.lines[name]
        if number == point and (line.question or told[-1]["identity"] != line.peer.identity):
            return True
    return False


def _midnight(row: Row, daemon: Daemon) -> str | None:
    day = row["last_published_day"]
    return None if day is None else _told(datetime.combine(day, time(), daemon.terms.zone))


def _told(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()
