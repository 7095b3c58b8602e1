"""Orders of two persons that a supply be off for another reason than money."""

from __future__ import annotations

from typing import Any, NamedTuple

from storage.documents import Said
from storage.sql import Connection, fetch_dicts, fetch_row, load

SQL = load("cut_orders")


class OrderedPoint(NamedTuple):
    """A point, and its order that has not ended, None where it has none.

    `is_fresh`: it was asked for within the last four hours. `must_be_on`: the point is protected,
    or somebody there depends on supply."""

    point_id: int
    account_id: int
    order: int | None
    actor: str | None
    cause: str | None
    is_agreed: bool
    is_fresh: bool | None
    must_be_on: bool


async def lock_point(connection: Connection, point: str) -> OrderedPoint | None:
    """The point of this number, its account locked; None where it is not there, or has none."""
    values = {"point": point}
    await connection.execute(SQL["lock_point"], values)
    # What that one waited for is not in its own snapshot.
    row = await fetch_row(connection, SQL["ordered_point"], values)
    return None if row is None else OrderedPoint(*row)


async def point_of(connection: Connection, number: int) -> str | None:
    """Of which point an order is."""
    row = await fetch_row(connection, SQL["point_of"], {"number": number})
    return None if row is None else str(row[0])


async def add_order(connection: Connection, point_id: int, cause: str, said: Said) -> int:
    """Somebody wants a supply off; returns the number of the order."""
    values = {
        "point_id": point_id,
        "cause": cause,
        "actor": said.actor,
        "reason": said.reason,
        "evidence": said.evidence or None,
    }
    row = await fetch_row(connection, SQL["add_order"], values)
    assert row is not None, "an insert returns its row"
    return int(row[0])


async def agree(connection: Connection, number: int, actor: str) -> None:
    """Another person agrees."""
    await connection.execute(SQL["agree"], {"number": number, "actor": actor})


async def end_order(connection: Connection, number: int, said: Said) -> bool:
    """The supply may come back; False if the order had ended."""
    values = {"number": number, "actor": said.actor, "reason": said.reason}
    return await fetch_row(connection, SQL["end_order"], values) is not None


async def end_former_orders(connection: Connection) -> None:
    """End, now and not only at the commit, the orders about customers whose points passed on in
    this transaction."""
    await connection.execute(SQL["end_former_orders"])
    await connection.execute(SQL["end_later_ones_at_commit"])


async def orders(connection: Connection, *, all_times: bool = False) -> list[dict[str, Any]]:
    """Orders that wait or were agreed to; with `all_times` also those that ended."""
    return await fetch_dicts(connection, SQL["orders"], {"all": all_times})
