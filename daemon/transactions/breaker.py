"""Open the breaker when too much happens at once, and reset it by two persons."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from config.persons import is_same_person
from daemon.control import breaker
from daemon.control.authority import Authority
from daemon.control.breaker import SITE, Cause, Figures, Group, groups_to_count, openings
from daemon.runtime.late_logs import LateLogger
from protocols.errors import MeterdError
from storage import breakers, supply
from storage.documents import Said

log = LateLogger("control")


class ResetRefused(MeterdError):
    """A breaker that cannot be reset so. Who typed it acts."""


async def watch(connection: AsyncConnection[Any], authority: Authority, now: datetime) -> None:
    """Open every breaker that has to be, and cancel the trips that wait behind it.

    In the transaction of whoever asked for trips. Releases wait until it ends, so none is sent that
    was asked for beyond a limit."""
    await supply.lock_trips(connection)
    found = await breakers.breaker_figures(
        connection, now, authority.zone, days=breaker.DAYS, commands=breaker.COMMANDS
    )
    trips = {Group(scope, name): (hour, day) for scope, name, hour, day in found.pop("trips")}
    figures = Figures(trips=trips, **found)
    limits = authority.limits
    counted = groups_to_count(figures, limits)
    sizes = await breakers.group_sizes(connection, counted) if counted else {}
    of_group = {Group(*named): size for named, size in sizes.items()}
    opened = []
    for it in openings(figures, of_group, limits):
        if await breakers.open_breaker(connection, it.group, it.cause, it.found, it.allowed, now):
            opened.append(it)
    # Also behind one that another opened while these trips were asked for.
    cancelled = await breakers.cancel_waiting_trips(connection, now)
    for it in opened:
        log.error(
            "breaker is open, nobody is cut until two persons reset it",
            scope=it.group.scope,
            name=it.group.name,
            cause=it.cause,
            found=round(it.found, 1),
            allowed=round(it.allowed, 1),
            trips_cancelled=cancelled,
        )


async def stop_trips(connection: AsyncConnection[Any], cause: Cause, now: datetime) -> None:
    """Open the breaker of the site for something that happened once, unless it is open."""
    await supply.lock_trips(connection)
    if await breakers.open_breaker(connection, SITE, cause, 1, 0, now):
        await breakers.cancel_waiting_trips(connection, now)
        log.error("breaker is open, nobody is cut until two persons reset it", cause=cause)


async def ask_to_reset(connection: AsyncConnection[Any], number: int, said: Said) -> None:
    """Ask that a breaker be reset; it stays open until a second person agrees."""
    async with connection.transaction():
        asked_by = await _locked(connection, number)
        if asked_by is not None:
            raise ResetRefused(
                f"{asked_by} asked already to reset breaker {number}; another has to agree"
            )
        await breakers.ask_to_reset(connection, number, said)
    log.warning("breaker is to be reset", number=number, actor=said.actor)


async def agree_to_reset(connection: AsyncConnection[Any], number: int, actor: str) -> None:
    """The second person agrees. ResetRefused: nobody asked, or this very person did."""
    async with connection.transaction():
        asked_by = await _locked(connection, number)
        if asked_by is None:
            raise ResetRefused(f"nobody asked to reset breaker {number}")
        if is_same_person(asked_by, actor):
            raise ResetRefused(
                f"{asked_by} asked to reset breaker {number}; another person has to agree"
            )
        await breakers.agree_to_reset(connection, number, actor)
    log.warning("breaker is reset", number=number, actor=actor)


async def _locked(connection: AsyncConnection[Any], number: int) -> str | None:
    found = await breakers.lock_breaker(connection, number)
    if found is None:
        raise ResetRefused(f"there is no breaker {number}")
    asked_by, is_reset = found
    if is_reset:
        raise ResetRefused(f"breaker {number} is reset already")
    return asked_by
