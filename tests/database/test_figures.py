"""What is counted in tables for those who watch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
import pytest
from prometheus_client import REGISTRY
from psycopg import AsyncConnection

from daemon import figures
from daemon.runtime.purposes import Achieved
from daemon.transactions.sealing import seal
from storage.database import Pool
from tests.database.small_site import DAY, OPEN, SHADOW, Site, freeze, on, store


def shown(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None, f"{name} {labels} is not there"
    return value


@pytest.mark.parametrize(
    ("table", "column", "known"),
    [
        ("supply_mark", "kind", figures.MARKS),
        ("field_job", "kind", figures.JOBS),
        ("breaker", "scope", figures.SCOPES),
        ("point_supply", "supply_state", figures.SUPPLY_STATES),
        ("command", "action", figures.ACTIONS),
        ("command", "state", figures.OPEN_STATES + figures.END_STATES),
    ],
)
def test_each_value_that_a_table_may_hold_is_shown(
    owner_url: str, table: str, column: str, known: Sequence[str]
) -> None:
    with psycopg.connect(owner_url) as connection:
        ((condition,),) = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s",
            [f"{table}_{column}_check"],
        ).fetchall()
    assert set(re.findall(r"'(\w+)'", condition)) == set(known)


def test_what_is_there_at_a_start_is_no_event_and_what_comes_is_one(database_url: str) -> None:
    async def story(connection: AsyncConnection[object]) -> None:
        meters = await Site.of(2).take_over(connection, OPEN)
        told = [freeze(meters["P1"], OPEN + n * DAY, 100 + n) for n in range(3)]
        await store(connection, *told, authority=SHADOW)
        await seal(connection, datetime.now(UTC))
        figures.begin()
        async with Pool(database_url, most=2) as pool:
            recent = figures.Recent(pool, [], [], Achieved())
            await recent.look()
            charges = shown("meterd_ledger_transactions_total", kind="charge")
            payments = shown("meterd_ledger_transactions_total", kind="top_up")
            await recent.look()
            assert shown("meterd_ledger_transactions_total", kind="charge") == charges

            await store(connection, freeze(meters["P1"], OPEN + 3 * DAY, 110), authority=SHADOW)
            await seal(connection, datetime.now(UTC))
            await recent.look()
            assert shown("meterd_ledger_transactions_total", kind="charge") > charges
            assert shown("meterd_ledger_transactions_total", kind="top_up") == payments

            await figures.show_totals(pool, SHADOW)
        assert shown("meterd_points") == 2
        states = ("good", "low", "emergency", "exhausted")
        assert sum(shown("meterd_accounts", credit_state=state) for state in states) == 1
        assert shown("meterd_supply_points", state="energised") == 2
        assert shown("meterd_balances_fen", side="debt") > 0

    on(database_url, story)
