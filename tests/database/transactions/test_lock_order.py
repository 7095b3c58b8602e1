"""Whoever writes takes locks in one order, so that nobody waits for somebody who waits for him."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.opening import AccountOpening, open_account
from storage.settling import ALL_DAYS, mark_accounts
from tests.conftest import new_database
from tests.database.site_with_a_past import what_comes_then
from tests.database.small_site import ARMED, NOW, TODAY, ZONE, connect, meters
from tests.database.transactions.test_fault_points import ACTS, Act, Stage, past
from tests.servers.breaking_wire import Wire

__all__ = ["past"]

CHAINS: Final = "chains"
"""The lock of whoever judges: two that hold it are never there at once."""
TABLES: Final = """
    SELECT DISTINCT c.relname FROM pg_class c JOIN pg_locks l ON l.relation = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND l.mode <> 'AccessShareLock' AND l.pid <> pg_backend_pid() ORDER BY 1"""
"""Of which somebody may have locked rows: who does has locked the table for it."""
ADVISORY: Final = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted)"


async def take_readings(connection: AsyncConnection[Any]) -> None:
    await collect(connection, what_comes_then(await meters(connection)), ZONE)


async def settle(connection: AsyncConnection[Any]) -> None:
    await settle_marked(connection, ARMED, NOW)


async def open_an_account(connection: AsyncConnection[Any]) -> None:
    await open_account(connection, AccountOpening("A8", TODAY, "signed"), ZONE, NOW)


WRITERS: Final[Mapping[str, Act]] = {
    **ACTS,
    "a batch of readings": take_readings,
    "settlement": settle,
    "the opening of an account": open_an_account,
}


@dataclass
class Watcher:
    """Sees which locks are held before each statement."""

    connection: psycopg.Connection[Any]
    orders: list[list[set[str]]] = field(default_factory=lambda: [[]])
    """Of each transaction, and from each savepoint on that it went back to, what each of its
    statements locked in addition."""
    unguarded: list[str] = field(default_factory=list)
    """Statements that mark accounts without CHAINS: new rows, on which two can meet unseen."""
    _held: set[str] = field(default_factory=set)

    def look(self, connection: int, statement: str) -> None:
        held = set(self._locked())
        if "INSERT INTO to_settle" in statement and CHAINS not in held:
            self.unguarded.append(statement)
        if self._held - held:
            # The transaction is over, or what was tried: what it still holds comes before the rest.
            self.orders.append([held] if held else [])
        if held - self._held:
            self.orders[-1].append(held - self._held)
        self._held = held

    def _locked(self) -> Iterator[str]:
        """Tables of which somebody locks a row that was there before, and CHAINS."""
        if self.connection.execute(ADVISORY).fetchone() == (True,):
            yield CHAINS
        for (table,) in self.connection.execute(TABLES).fetchall():
            name = sql.Identifier(table)
            with self.connection.transaction(force_rollback=True):
                free = sql.SQL("SELECT FROM {} FOR NO KEY UPDATE SKIP LOCKED").format(name)
                there = sql.SQL("SELECT FROM {}").format(name)
                if self.connection.execute(free).rowcount < self.connection.execute(there).rowcount:
                    yield table


def locks_of(stage: Stage, act: Act) -> list[list[set[str]]]:
    """Of each transaction of this writer the locks in order."""

    async def story(wire: Wire, database: str) -> None:
        async with await connect(wire.server.url(database)) as connection:
            await connection.execute(
                "INSERT INTO account (number, tariff_id, warn_fen, trip_fen, reconnect_fen) "
                "VALUES ('A8', 'T', 0, 0, 0)"
            )
            await mark_accounts(connection, range(1, 8), ALL_DAYS, "test")
        with psycopg.connect(wire.server.url(database), autocommit=True) as watching:
            watcher = Watcher(watching)
            async with await connect(wire.url(database)) as connection:
                wire.on_statement = watcher.look
                await act(connection)
                wire.on_statement = lambda connection, statement: None
        assert watcher.unguarded == []
        orders.extend(watcher.orders)

    orders: list[list[set[str]]] = []
    with new_database(stage.server, stage.template) as name:
        asyncio.run(story(stage.wire, name))
    return [order for order in orders if order]


@pytest.mark.timeout(600)
def test_nobody_locks_in_the_order_opposite_to_another(past: Stage) -> None:
    orders = {
        f"{name}, {' < '.join('+'.join(sorted(step)) for step in order)}": order
        for name, act in WRITERS.items()
        for order in locks_of(past, act)
    }
    assert any("account" in step for order in orders.values() for step in order), "or none was seen"
    for (one, order), (other, opposite) in itertools.combinations(orders.items(), 2):
        if CHAINS in order[0] and CHAINS in opposite[0]:
            continue  # the second one waits before it has locked anything
        crossed = before(order) & {(then, first) for first, then in before(opposite)}
        assert not crossed, f"{crossed}:\n{one}\n{other}"


def before(order: list[set[str]]) -> set[tuple[str, str]]:
    """(a, b) where a was locked by an earlier statement than b."""
    return {
        (first, then)
        for earlier, later in itertools.combinations(order, 2)
        for first in earlier
        for then in later
    }
