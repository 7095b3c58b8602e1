"""Two persons order that a supply be off for another reason than money, and one ends that."""

from __future__ import annotations

from typing import Any

import structlog
from psycopg import AsyncConnection

from config.persons import is_same_person
from daemon.control.authority import Authority
from daemon.control.guard import Cause
from daemon.control.trips import GuardedTrip
from daemon.transactions.supply import request_trips, restore
from protocols.errors import MeterdError
from storage import cut_orders, supply
from storage.cut_orders import OrderedPoint
from storage.documents import Said

log = structlog.get_logger("control")


class OrderRefused(MeterdError):
    """An order that cannot be given, agreed to or ended so. Who typed it acts."""


async def ask_for_order(
    connection: AsyncConnection[Any], point: str, cause: Cause, said: Said
) -> int:
    """Ask that a point be cut and stay off; another person has to agree within four hours.

    Returns the number of the order. One that waits is ended: it was for another reason, or of
    another moment. OrderRefused: there is no such point, it is ordered off, or must be on."""
    async with connection.transaction():
        found = await cut_orders.lock_point(connection, point)
        if found is None:
            raise OrderRefused(f"no point {point} with an account")
        if found.is_agreed:
            raise OrderRefused(f"order {found.order} of point {point} has not ended; end it first")
        _refuse_for_who_must_be_on(point, found, cause)
        if found.order is not None:
            replaced = Said(said.actor, "a new order takes its place")
            await cut_orders.end_order(connection, found.order, replaced)
        number = await cut_orders.add_order(connection, found.point_id, cause, said)
    log.info("cut is to be ordered", point=point, cause=cause, actor=said.actor)
    return number


async def agree_to_order(
    connection: AsyncConnection[Any], authority: Authority, number: int, actor: str
) -> list[GuardedTrip]:
    """The second person agrees: the point is cut, and stays off until the order is ended.

    Returns what the guard said; while it denies, it is asked again for four hours."""
    async with connection.transaction():
        point, found = await _locked(connection, number)
        if found.is_agreed:
            raise OrderRefused(f"order {number} is agreed to already")
        assert found.actor is not None, "an order has one"
        assert found.cause is not None, "an order has one"
        if is_same_person(found.actor, actor):
            raise OrderRefused(f"{found.actor} gave order {number}; another person has to agree")
        if not found.is_fresh:
            raise OrderRefused(f"order {number} is older than four hours: ask anew")
        _refuse_for_who_must_be_on(point, found, found.cause)
        await cut_orders.agree(connection, number, actor)
        now = await supply.database_clock(connection)
        trips = await request_trips(connection, authority, [found.account_id], now)
    log.warning("cut is ordered", point=point, order=number, actor=actor)
    return [it for it in trips if it.point.point == point]


async def end_order(connection: AsyncConnection[Any], number: int, said: Said) -> None:
    """The point is restored, whatever is owed, unless it was cut for arrears before.

    One that has no account comes back when it is given to one."""
    async with connection.transaction():
        point = await _point_of(connection, number)
        found = await cut_orders.lock_point(connection, point)
        if not await cut_orders.end_order(connection, number, said):
            raise OrderRefused(f"order {number} has ended")
        now = await supply.database_clock(connection)
        cause = f"order {number} ended by {said.actor}: {said.reason}"
        accounts = [] if found is None else [found.account_id]
        await restore(connection, accounts, cause, now)
    log.warning("order to cut is over", point=point, order=number, actor=said.actor)


def _refuse_for_who_must_be_on(point: str, found: OrderedPoint, cause: str) -> None:
    # Control, command life cycle: no such order overrides life support, and none would be in force.
    if found.must_be_on and cause != "safety":
        raise OrderRefused(
            f"point {point} is protected, or somebody there depends on supply: only an order for "
            "safety counts there"
        )


async def _locked(connection: AsyncConnection[Any], number: int) -> tuple[str, OrderedPoint]:
    """The point of an order that has not ended, its account locked."""
    point = await _point_of(connection, number)
    found = await cut_orders.lock_point(connection, point)
    if found is None:
        raise OrderRefused(f"point {point} has no account now")
    if found.order != number:
        raise OrderRefused(f"order {number} has ended")
    return point, found


async def _point_of(connection: AsyncConnection[Any], number: int) -> str:
    point = await cut_orders.point_of(connection, number)
    if point is None:
        raise OrderRefused(f"there is no order {number}")
    return point
