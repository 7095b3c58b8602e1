"""Supply: facts for the guard, commands, observations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from storage.sql import Connection, fetch_dicts, fetch_records, fetch_row, fetch_rows, load

SQL = load("supply")
T = TypeVar("T")
DatabaseClock = Callable[[Connection], Awaitable[datetime]]
"""What the clock of a connection's database shows: `database_clock`, or one of a test."""
TRIP_LOCK = 0x6D657473
"""Advisory lock of whoever releases a trip: one at a time."""


@dataclass(frozen=True, slots=True)
class Command:
    """One row of `command`; see the schema for its states."""

    id: UUID
    sequence: int
    point_id: int
    point: str
    meter_id: int
    address: str
    line: str
    action: Literal["trip", "allow_close", "close"]
    cause: str
    state: str
    guard: Mapping[str, Any] | None
    created_at: datetime
    expires_at: datetime
    next_at: datetime
    sends: int
    checks: int
    sent_at: datetime | None
    detail: str
    fence: int | None = None
    """The token of who released it last."""


@dataclass(frozen=True, slots=True)
class NewCommand:
    """A command that is not stored yet. `address` and `line`: the meter's at this time."""

    id: UUID
    point_id: int
    meter_id: int
    address: str
    line: str
    action: str
    cause: str
    guard: Mapping[str, Any] | None
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class CommandMove:
    """What becomes of a command. `sends` and `checks` are added to its counters.

    `guard`: the verdict that released it, `expires_at`, and `fence`: the token of who releases it;
    None leaves what is stored."""

    state: str
    next_at: datetime
    detail: str = ""
    sends: int = 0
    checks: int = 0
    guard: Mapping[str, Any] | None = None
    expires_at: datetime | None = None
    fence: int | None = None


@dataclass(frozen=True, slots=True)
class NewVerdict:
    """What the guard decided about a point, with the facts that it saw."""

    point_id: int
    decision: str
    reasons: Sequence[str]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenCommand:
    """What a start has to know of a command that has not ended."""

    id: UUID
    point_id: int
    action: str
    state: str
    sends: int
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PayerSupply:
    """An account with a point that is dark, or may be: whose relay was never seen."""

    account_id: int
    is_dark: bool
    is_unknown: bool


@dataclass(frozen=True, slots=True)
class NoticesAsked:
    """Within which times (both included) a policy wants notices to have been delivered.

    None: it wants none of the kind. `profile`: its name, empty for the site's."""

    profile: str
    written: tuple[datetime, datetime] | None
    final: tuple[datetime, datetime] | None


@dataclass(frozen=True, slots=True)
class RelaySeen:
    """Where the relay of a meter was, and where it was ordered to be, when its line looked."""

    meter_id: int
    is_open: bool
    is_ordered_open: bool
    keep_power: bool
    at: datetime


async def control_facts(
    connection: Connection,
    accounts: Iterable[int],
    now: datetime,
    record: type[T],
    *,
    sources_since: datetime,
) -> list[T]:
    """The facts of every point of these accounts, each as a `record` whose fields are the columns.

    The caller holds the locks on the account rows. `sources_since`: who told readings from then on
    is looked at, and who told the last one before."""
    values = {"accounts": sorted(set(accounts)), "now": now, "sources_since": sources_since}
    await connection.execute(SQL["plan_once"])
    try:
        return await fetch_records(connection, record, SQL["control_facts"], values, prepare=True)
    finally:
        # In a transaction that failed its end undoes it.
        with suppress(psycopg.Error):
            await connection.execute(SQL["plan_as_usual"])


async def supply_facts(connection: Connection, accounts: Iterable[int], record: type[T]) -> list[T]:
    """Of the same points what restoring them asks for: a tenth of the work."""
    values = {"accounts": sorted(set(accounts))}
    return await fetch_records(connection, record, SQL["supply_facts"], values)


async def marks_that_hold(
    connection: Connection, points: Iterable[int], now: datetime
) -> dict[int, list[str]]:
    """Point -> kinds of the marks that keep it from being cut now; only points with any."""
    values = {"points": list(points), "now": now}
    return dict(await fetch_rows(connection, SQL["marks_that_hold"], values))


async def delivered_notices(
    connection: Connection, episodes: Iterable[int]
) -> list[tuple[int, Literal["written", "final"], datetime, datetime | None]]:
    """(episode, kind, delivered at, planned at), in order."""
    return await fetch_rows(connection, SQL["delivered_notices"], {"episodes": list(episodes)})


async def approvals_given(
    connection: Connection, episodes: Iterable[int]
) -> list[tuple[int, str, int, str | None, datetime | None, datetime | None]]:
    """(episode, requester, debt, approver, approved at, expires at); a request that nobody
    approved has one row without approver."""
    return await fetch_rows(connection, SQL["approvals_given"], {"episodes": list(episodes)})


async def persons_of_orders(
    connection: Connection, points: Iterable[int]
) -> list[tuple[int, str, str, datetime, datetime]]:
    """(point, who ordered it off, who agreed, when, until when it may be cut for that)."""
    return await fetch_rows(connection, SQL["persons_of_orders"], {"points": list(points)})


async def accounts_with_orders(connection: Connection) -> list[int]:
    """Those with a point that is ordered off and is on."""
    rows = await fetch_rows(connection, SQL["accounts_with_orders"], {})
    return [account for (account,) in rows]


async def accounts_to_ask_about(
    connection: Connection, after: int = 0, most: int | None = None
) -> list[int]:
    """The next accounts behind `after` whose money asks for a trip."""
    values = {"after": after, "most": most}
    rows = await fetch_rows(connection, SQL["accounts_to_ask_about"], values)
    return [account for (account,) in rows]


async def accounts_that_may_be_cut(
    connection: Connection,
    policies: Sequence[NoticesAsked],
    known: Collection[str],
    after: int,
    most: int,
) -> list[int]:
    """Of all whose money has run out those of which this look does not say that the guard denies.

    Under one of these policies, of all `known` profiles; first those behind `after`. One statement,
    however many owe."""
    values = {
        "profiles": [it.profile for it in policies],
        "known": sorted(known),
        "written_from": [it.written and it.written[0] for it in policies],
        "written_to": [it.written and it.written[1] for it in policies],
        "final_from": [it.final and it.final[0] for it in policies],
        "final_to": [it.final and it.final[1] for it in policies],
        "after": after,
        "most": most,
    }
    rows = await fetch_rows(connection, SQL["accounts_that_may_be_cut"], values)
    return [account for (account,) in rows]


async def accounts_to_restore(connection: Connection) -> list[int]:
    """Accounts that are cut and have the money, or must not be; and those that others opened."""
    rows = await fetch_rows(connection, SQL["accounts_to_restore"])
    return [account for (account,) in rows]


async def last_verdicts(
    connection: Connection, points: Iterable[int]
) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Point -> (decision, reasons) of the guard's last verdict about it."""
    values = {"points": list(points)}
    rows = await fetch_rows(connection, SQL["last_verdicts"], values)
    return {point: (decision, tuple(reasons)) for point, decision, reasons in rows}


async def add_verdicts(
    connection: Connection, verdicts: Sequence[NewVerdict], at: datetime
) -> None:
    """Keep what the guard decided at one time, however many points it was about."""
    values = {
        "at": at,
        "points": [verdict.point_id for verdict in verdicts],
        "decisions": [verdict.decision for verdict in verdicts],
        "reasons": [" ".join(verdict.reasons) for verdict in verdicts],
        "facts": [Jsonb(verdict.facts) for verdict in verdicts],
    }
    await connection.execute(SQL["add_verdicts"], values)


async def ended_in_vain(
    connection: Connection, points: Sequence[int], *, is_trip: bool, since: datetime
) -> list[tuple[int, str, datetime]]:
    """(point, state, asked for at) of trips (or reconnects) since then that did not succeed."""
    values = {"points": points, "is_trip": is_trip, "since": since}
    return await fetch_rows(connection, SQL["ended_in_vain"], values) if points else []


async def add_commands(connection: Connection, commands: Sequence[NewCommand]) -> None:
    """Persist commands; the line of each meter is notified when the transaction commits."""
    values = [
        {
            "id": command.id,
            "point_id": command.point_id,
            "meter_id": command.meter_id,
            "address": command.address,
            "line": command.line,
            "action": command.action,
            "cause": command.cause,
            "guard": _json_or_none(command.guard),
            "now": command.created_at,
            "expires_at": command.expires_at,
        }
        for command in commands
    ]
    # executemany goes through one pipeline: a batch costs one round trip, not one a command.
    async with connection.cursor() as cursor:
        await cursor.executemany(SQL["add_command"], values)


async def database_clock(connection: Connection) -> datetime:
    """What the database's clock shows."""
    row = await fetch_row(connection, SQL["database_clock"])
    assert row is not None
    at: datetime = row[0]
    return at


async def set_supply(
    connection: Connection, points: Sequence[int], supply_state: str, cut_for: str | None = None
) -> None:
    """Store the supply state of points, and of those that are being cut for what."""
    if points:
        values = {"points": list(points), "supply_state": supply_state, "cut_for": cut_for}
        await connection.execute(SQL["set_supply"], values)


async def accounts_exhausted(connection: Connection, accounts: Iterable[int]) -> list[int]:
    """Those of these accounts whose money has run out."""
    values = {"accounts": list(accounts)}
    rows = await fetch_rows(connection, SQL["accounts_exhausted"], values)
    return [account for (account,) in rows]


async def accounts_not_energised(connection: Connection, accounts: Iterable[int]) -> list[int]:
    """Those of these accounts that have a point that is cut, or on its way to or from it."""
    values = {"accounts": list(accounts)}
    rows = await fetch_rows(connection, SQL["accounts_not_energised"], values)
    return [account for (account,) in rows]


async def lock_open_trips(
    connection: Connection, points: Sequence[int]
) -> list[tuple[UUID, int, int]]:
    """(command, point, how often it was sent) of open trips, locked. Lock the accounts first."""
    return await fetch_rows(connection, SQL["lock_open_trips"], {"points": points})


async def move_commands(
    connection: Connection, moves: Sequence[tuple[UUID, str]], detail: str, now: datetime
) -> None:
    """Bring commands, which are locked, to their next states; what goes on is looked at now."""
    values = {
        "ids": [command for command, _ in moves],
        "states": [state for _, state in moves],
        "detail": detail,
        "now": now,
    }
    if moves:
        await connection.execute(SQL["move_commands"], values)


async def due_command(
    connection: Connection, line: str, now: datetime, *, sending: bool
) -> tuple[UUID, int | None] | None:
    """(command, account) of what the line has to do now, without locking anything.

    None for the account of a point that was released meanwhile.

    Unsent ones only if `sending`."""
    values = {
        "line": line,
        "now": now,
        "sending": sending,
    }
    return await fetch_row(connection, SQL["due_command"], values)


async def next_due(connection: Connection, line: str) -> datetime | None:
    """When the line has to look at its commands again."""
    row = await fetch_row(connection, SQL["next_due"], {"line": line})
    return row[0] if row else None


async def lines_with_commands(connection: Connection) -> list[str]:
    """The lines that have commands to look at, now or later."""
    rows = await fetch_rows(connection, SQL["lines_with_commands"])
    return [line for (line,) in rows]


async def is_sent(connection: Connection, command: UUID, sends: int) -> bool:
    """True while the command is in state `sent` by its send number `sends`, and no mark keeps its
    point from being cut, or, of a reconnect, off."""
    values = {"id": command, "sends": sends}
    return await fetch_row(connection, SQL["is_sent"], values) == (True,)


async def lock_account_of(connection: Connection, point: int) -> None:
    """Lock the account row of a point until the transaction ends: always before its commands."""
    await connection.execute(SQL["lock_account_of"], {"point": point})


async def lock_trips(connection: Connection) -> None:
    """Release trips one at a time over the whole site.

    So the cap on their number counts every one."""
    await connection.execute(SQL["lock_trips"], {"lock": TRIP_LOCK})


async def lock_command(connection: Connection, command: UUID) -> Command | None:
    """The command, locked, if it is still open. Lock its account first."""
    found = await fetch_records(connection, Command, SQL["lock_command"], {"id": command})
    return found[0] if found else None


async def move_command(
    connection: Connection, command: UUID, move: CommandMove, now: datetime
) -> None:
    """Bring a command to its next state. Every transition is journalled."""
    values = {
        "id": command,
        "state": move.state,
        "now": now,
        "next_at": move.next_at,
        "detail": move.detail,
        "sends": move.sends,
        "checks": move.checks,
        "guard": _json_or_none(move.guard),
        "expires_at": move.expires_at,
        "fence": move.fence,
    }
    await connection.execute(SQL["move_command"], values)


async def answer_command(
    connection: Connection, command: UUID, state: str, detail: str, next_at: datetime
) -> bool:
    """Record what the meter said to the control frame; it is looked at again from `next_at` on.

    False if the command was superseded meanwhile."""
    values = {
        "id": command,
        "state": state,
        "detail": detail,
        "next_at": next_at,
    }
    return await fetch_row(connection, SQL["answer_command"], values) is not None


async def observe_relay(
    connection: Connection,
    point: int,
    *,
    is_open: bool,
    is_ordered_open: bool,
    keep_power: bool,
    now: datetime,
) -> None:
    """Keep what status word 3 said; never inferred from a command."""
    values = {
        "point": point,
        "relay": _position(is_open),
        "command": _position(is_ordered_open),
        "keep_power": keep_power,
        "now": now,
    }
    await connection.execute(SQL["observe_relay"], values)


async def accounts_of_meters(connection: Connection, meters: Iterable[int]) -> list[int]:
    """Who is billed for what these meters serve."""
    rows = await fetch_rows(connection, SQL["accounts_of_meters"], {"meters": list(meters)})
    return [account for (account,) in rows]


async def see_relays(connection: Connection, seen: Sequence[RelaySeen]) -> None:
    """Keep where relays were when lines looked; what was seen later stays."""
    values = {
        "meters": [it.meter_id for it in seen],
        "relays": [_position(it.is_open) for it in seen],
        "commands": [_position(it.is_ordered_open) for it in seen],
        "keep_powers": [it.keep_power for it in seen],
        "ats": [it.at for it in seen],
    }
    await connection.execute(SQL["see_relays"], values)


async def payers_to_look_at(connection: Connection, accounts: Iterable[int]) -> list[PayerSupply]:
    """Those of these accounts whose supply is not certainly as it should be."""
    values = {"accounts": list(accounts)}
    return await fetch_records(connection, PayerSupply, SQL["payers_to_look_at"], values)


async def ask_for_relays(connection: Connection, accounts: Iterable[int]) -> None:
    """Let lines look at once at the relays of these accounts that were never seen."""
    await connection.execute(SQL["ask_for_relays"], {"accounts": list(accounts)})


async def trips_before(
    connection: Connection, sent_since: datetime
) -> list[tuple[int, datetime, datetime, bool]]:
    """Of supplies that are on: (meter, when its last trip expires, when its relay was seen, whether
    it was closed and ordered open then)."""
    return await fetch_rows(connection, SQL["trips_before"], {"sent_since": sent_since})


async def look_at_relays(connection: Connection, meters: Sequence[int]) -> None:
    """Let lines look at once at the relays of these meters."""
    await connection.execute(SQL["look_at_relays"], {"meters": list(meters)})


async def lock_open_commands(connection: Connection) -> list[OpenCommand]:
    """Every command that has not ended, locked."""
    return await fetch_records(connection, OpenCommand, SQL["lock_open_commands"])


async def last_reconnect(connection: Connection) -> tuple[str, datetime] | None:
    """(state, sent at) of the reconnect of the site that was sent last."""
    return await fetch_row(connection, SQL["last_reconnect"])


async def expire_trips(connection: Connection, now: datetime) -> None:
    """Trips that were never sent and are past their expiry end, whatever became of their line."""
    await connection.execute(SQL["expire_trips"], {"now": now})


async def due_at_once(connection: Connection, now: datetime) -> None:
    """Each open command is looked at now, whenever it was to be."""
    await connection.execute(SQL["due_at_once"], {"now": now})


async def hurry_reconnects(connection: Connection, accounts: Sequence[int], now: datetime) -> None:
    """The open reconnects of these accounts are due now; their lines are told."""
    await connection.execute(SQL["hurry_reconnects"], {"accounts": accounts, "now": now})


async def commands_by_state(connection: Connection) -> list[tuple[str, str, int]]:
    """(action, state, count)."""
    return await fetch_rows(connection, SQL["commands_by_state"])


async def longest_wait_s(connection: Connection) -> float:
    """How long the command that waits longest has been due; 0 without one."""
    row = await fetch_row(connection, SQL["longest_wait"])
    assert row is not None
    return max(0.0, float(row[0]))


async def supply(
    connection: Connection, *, account: str | None = None, point: str | None = None
) -> list[dict[str, Any]]:
    """Points with supply state, observed relay, last command and last verdict."""
    values = {"account": account, "point": point}
    return await fetch_dicts(connection, SQL["supply"], values)


async def command_history(connection: Connection, point: str) -> list[dict[str, Any]]:
    """Every transition of the point's commands in order of time."""
    return await fetch_dicts(connection, SQL["command_history"], {"point": point})


async def verdict_history(connection: Connection, point: str, most: int) -> list[dict[str, Any]]:
    """The guard's newest `most` changes of mind about a point: at, decision, reasons."""
    return await fetch_dicts(connection, SQL["verdict_history"], {"point": point, "most": most})


def _position(is_open: bool) -> str:
    return "open" if is_open else "closed"


def _json_or_none(facts: Mapping[str, Any] | None) -> Jsonb | None:
    return None if facts is None else Jsonb(dict(facts))
