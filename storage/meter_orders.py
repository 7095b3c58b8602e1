"""What is set in meters beside their relays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from storage.sql import Connection, fetch_dicts, fetch_records, fetch_row, fetch_rows, load

SQL = load("meter_orders")


@dataclass(frozen=True, slots=True)
class MeterOrder:
    """An open row of `meter_order`, with what says whether it may be sent.

    `point_id` and `point`: what the meter serves now; None for one that was taken out."""

    meter_id: int
    what: Literal["keep_power", "alarm"]
    is_on: bool
    state: str
    may_be_on: bool
    sends: int
    checks: int
    made_at: datetime
    address: str
    line: str
    point_id: int | None
    point: str | None
    is_energised: bool
    has_command: bool
    """A supply command of it, or of its point, is open."""
    is_low: bool
    """The money of its account is."""


@dataclass(frozen=True, slots=True)
class OrderMove:
    """What becomes of an order. `next_at`: None ends it; `is_sent`: a frame leaves now, released by
    the `fence` of who has the site."""

    state: str
    next_at: datetime | None
    detail: str
    may_be_on: bool
    is_sent: bool = False
    fence: int | None = None


async def look_up_by_index(connection: Connection) -> None:
    """Until the transaction ends no table is read as a whole."""
    await connection.execute(SQL["by_index"])


async def give_up(
    connection: Connection, before: datetime, now: datetime
) -> list[tuple[str, str, str]]:
    """End what was ordered before then and is still open: address of the meter, line, what."""
    values = {"before": before, "now": now}
    return [(*row,) for row in await fetch_rows(connection, SQL["give_up"], values)]


async def order_keep_power(connection: Connection, now: datetime) -> None:
    """Write down what the marks say and the meters do not."""
    await connection.execute(SQL["order_keep_power"], {"now": now})


async def order_alarms(connection: Connection, now: datetime, after: int, most: int) -> int:
    """The next accounts behind `after` whose money is low: the last one, 0 at their end."""
    values = {"now": now, "after": after, "most": most}
    return _last(await fetch_row(connection, SQL["order_alarms"], values))


async def end_alarms(
    connection: Connection, now: datetime, after: int, most: int, *, alarms: bool
) -> int:
    """The next meters behind `after` that may warn: the last one, 0 at their end.

    `alarms`: whether any meter is to warn."""
    values = {"now": now, "after": after, "most": most, "alarms": alarms}
    return _last(await fetch_row(connection, SQL["end_alarms"], values))


def _last(row: tuple[Any, ...] | None) -> int:
    return row[0] if row is not None else 0


async def due_order(
    connection: Connection, line: str, now: datetime, *, sending: bool
) -> MeterOrder | None:
    """The next one that is due on a line, of a meter without an open supply command."""
    values = {"line": line, "now": now, "sending": sending}
    due = await fetch_row(connection, SQL["due_order"], values)
    return None if due is None else await order(connection, *due)


async def next_due(connection: Connection, line: str, *, sending: bool) -> datetime | None:
    """When the line has to look again."""
    values = {"line": line, "sending": sending}
    row = await fetch_row(connection, SQL["next_due"], values)
    return row[0] if row is not None else None


async def lines_with_orders(connection: Connection) -> list[str]:
    """The lines that have to look."""
    return [line for (line,) in await fetch_rows(connection, SQL["lines_with_orders"])]


async def order(connection: Connection, meter: int, what: str) -> MeterOrder | None:
    """One as it is now; None when it has ended."""
    values = {"meter": meter, "what": what}
    found = await fetch_records(connection, MeterOrder, SQL["order"], values)
    return found[0] if found else None


async def move_order(
    connection: Connection, order: MeterOrder, move: OrderMove, now: datetime
) -> bool:
    """Its next state; False when it is not what it was any more."""
    values = {
        "meter": order.meter_id,
        "what": order.what,
        "is_on": order.is_on,
        "was": order.state,
        "sends": order.sends,
        "made_at": order.made_at,
        "state": move.state,
        "detail": move.detail,
        "next_at": move.next_at,
        "may_be_on": move.may_be_on,
        "sent": int(move.is_sent),
        "fence": move.fence,
        "now": now,
    }
    return await fetch_row(connection, SQL["move_order"], values) is not None


async def order_history(connection: Connection, point: str) -> list[dict[str, Any]]:
    """What became of the orders to a point's meters."""
    return await fetch_dicts(connection, SQL["order_history"], {"point": point})
