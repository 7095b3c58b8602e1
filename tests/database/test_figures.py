"""What is counted in tables for those who watch."""

from __future__ import annotations

from datetime import UTC, datetime

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
