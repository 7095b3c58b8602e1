"""What persons said of values, and what others said of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from storage.sql import Connection, fetch_records, fetch_row, load

SQL = load("decisions")


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A person's word. `total` and `rates` in the register's smallest step.

    `takes_effect`: nobody else has to agree."""

    point_id: int
    day: date
    action: str
    total: int | None
    maker: str
    reason: str
    takes_effect: bool
    rates: tuple[int, ...] = ()
    rolled_over: bool = False
    method: str | None = None
    evidence: str = ""
    content: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CurrentRow:
    """A register and the instant that it is of, in its smallest step."""

    total: int
    at: datetime
    decimals: int
    modulus: int


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision as it stands: `state` is counts, waits or refused."""

    number: int
    point: str
    point_id: int
    day: date
    action: str
    total: int | None
    decimals: int | None
    rates: Sequence[int]
    rolled_over: bool
    method: str | None
    maker: str
    made_at: datetime
    reason: str
    evidence: str
    content: Mapping[str, Any]
    state: str
    approvers: Sequence[str]
    refuser: str | None


async def lock_point(connection: Connection, point: str) -> int | None:
    """The id of a point, whose row stays locked until the transaction ends."""
    row = await fetch_row(connection, SQL["lock_point"], {"point": point})
    return row[0] if row else None


async def current_reading(
    connection: Connection, point_id: int, day: date, reading: int
) -> CurrentRow | None:
    """The registers that were read on demand on that day under that id, by the point's meter."""
    values = {"point_id": point_id, "day": day, "reading": reading}
    found = await fetch_records(connection, CurrentRow, SQL["current_reading"], values)
    return found[0] if found else None


async def add_decision(connection: Connection, decision: NewDecision) -> int:
    """Write down what a person said; returns its number."""
    row = await fetch_row(connection, SQL["add_decision"], _values(decision))
    assert row is not None
    number: int = row[0]
    return number


async def repeated(connection: Connection, decision: NewDecision) -> DecisionRow | None:
    """The last word on the day where it was this very one, and nobody refused it."""
    row = await fetch_row(connection, SQL["repeated"], _values(decision))
    return None if row is None else (await decisions(connection, number=row[0]))[0]


def _values(decision: NewDecision) -> dict[str, Any]:
    return {
        "point_id": decision.point_id,
        "day": decision.day,
        "action": decision.action,
        "total": decision.total,
        "rates": list(decision.rates),
        "rolled_over": decision.rolled_over,
        "method": decision.method,
        "maker": decision.maker,
        "reason": decision.reason,
        "evidence": decision.evidence,
        "content": Jsonb(decision.content or {}),
        "takes_effect": decision.takes_effect,
    }


async def review(
    connection: Connection,
    number: int,
    actor: str,
    verdict: Literal["approved", "refused"],
    reason: str,
) -> None:
    """Write down what another person said of it.

    UniqueViolation: that person said something before. CheckViolation: the maker approves."""
    values = {"number": number, "actor": actor, "verdict": verdict, "reason": reason}
    await connection.execute(SQL["review"], values)


async def take_effect(connection: Connection, number: int, actor: str) -> None:
    """It counts from now on; `actor` is who made it so."""
    await connection.execute(SQL["take_effect"], {"number": number, "actor": actor})


async def decisions(
    connection: Connection,
    *,
    number: int | None = None,
    point: str | None = None,
    only_waiting: bool = False,
) -> list[DecisionRow]:
    """In order of their numbers."""
    values = {"number": number, "point": point, "waiting": only_waiting}
    return await fetch_records(connection, DecisionRow, SQL["decisions"], values)
