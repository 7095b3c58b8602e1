"""A tariff is rehearsed, then taken over and approved: balances move by the fen that were shown."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from config.tariff_files import load_tariff_file
from config.tariff_version import Versions
from daemon.billing.rehearsal import Summary, total
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import settle_marked
from daemon.transactions.day_close import close_days
from daemon.transactions.rehearsal import Portion, Rehearsal, rehearse, tried_tariffs
from daemon.transactions.tariff_versions import approve_version
from storage import archive
from storage.documents import Said
from storage.rehearsal import reading
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    TODAY,
    ZONE,
    Site,
    balance,
    everything,
    freeze,
    intact,
    noon,
    on,
    rows,
    store,
)

JANUARY = '[[version]]\neffective_from = 2026-01-01\nprice = "0.5"\n'
NEW = {
    "flat": 'price = "0.613"',
    "cheaper": 'price = "0.25"\nminimum = { monthly_yuan = "3" }',
    "ladder": """price = "0.4983"
ladder = { cycle = "year", method = "adder", bounds_kwh = ["40", "90"], adders = ["0", "0.05", "0.3"] }
fixed = { monthly_yuan = "6.5", proration = "thirtieth" }
tax = { mode = "exclusive", rate = "0.13" }""",
    "slab": """fixed = { daily_yuan = "0.11" }
ladder = { cycle = "month", method = "slab", bounds_kwh = ["30", "60"], prices = ["0.4", "0.5", "0.6"], whole_above_kwh = "60" }""",
    "tou": 'energy = { mode = "tou", prices = { peak = "0.9", flat = "0.6", valley = "0.3" } }',
    "matrix": """[version.ladder]
cycle = "month"
method = "matrix"
bounds_kwh = ["30"]
matrix = [{ peak = "0.9", flat = "0.6", valley = "0.3" }, { peak = "1.1", flat = "0.8", valley = "0.5" }]""",
}
GAP = (5, 6, 13)
"""Days without a freeze."""
WITHOUT_RATES = (9, 20)


def told(path: Path, text: str) -> Versions:
    (path / "T.toml").write_text(text)
    return load_tariff_file(path / "T.toml")["T"]


async def follow(connection: AsyncConnection[Any], site: Site, versions: Versions) -> None:
    """Li reloads files with these versions of T."""
    lines = replace(site.rows(), tariffs=[tariff_row("T", it) for it in versions.all])
    await archive.take_over(connection, lines, noon(TODAY), actor="li")


async def settled(connection: AsyncConnection[Any]) -> None:
    await close_days(connection, ZONE, NOW)
    await settle_marked(connection, ARMED, NOW)


async def a_site(connection: AsyncConnection[Any], now: Versions) -> Site:
    """Accounts whose points differ in use, in days that are missing and in rates that are not
    told; A3 had another tariff at first."""
    site = Site.of(
        4, rates="peak valley flat", residual_rate="flat", first_registers_are_known=True
    )
    await site.take_over(connection)
    await follow(connection, site, now)
    found = {meter.point: meter for meter in await archive.site_meters(connection)}
    for number, daily in enumerate((1, 2, 3, 5), 1):
        days = [n for n in range(40) if number != 2 or n not in GAP]
        batch = []
        for n in days:
            kwh = 100 + Decimal(daily * n) + Decimal(n * n % 7) / 10
            rates = [(kwh / share).quantize(Decimal("0.01")) for share in (4, 3)]
            rates.append(kwh - sum(rates))
            if number == 3 and n in WITHOUT_RATES:
                rates = []
            batch.append(freeze(found[f"P{number}"], OPEN + n * DAY, kwh, rates=rates))
        await store(connection, *batch)
    await settled(connection)
    return site


async def rehearsed(
    connection: AsyncConnection[Any], versions: Versions, since: date
) -> list[Portion]:
    tried = await tried_tariffs(connection, {"T": versions}, None)
    assert min(tried["T"].starts) == since
    wanted = Rehearsal({"T": tried["T"].tariff}, since)
    return [it async for it in rehearse(connection, wanted, ZONE, TODAY)]


async def charged(connection: AsyncConnection[Any]) -> dict[tuple[str, date], int]:
    query = (
        "SELECT a.number, m.month, (SELECT coalesce(sum(f), 0)::int FROM unnest(m.posted_fen) f) "
        "FROM account_month m JOIN account a ON a.id = m.account_id"
    )
    return {(account, month): fen for account, month, fen in await rows(connection, query)}


@pytest.mark.parametrize("start", [OPEN, OPEN + 7 * DAY])
@pytest.mark.parametrize("name", NEW)
def test_what_is_rehearsed_is_what_the_approved_file_charges(
    database_url: str, tmp_path: Path, name: str, start: date
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await a_site(connection, told(tmp_path, JANUARY))
        new = told(tmp_path, f"{JANUARY}[[version]]\neffective_from = {start}\n{NEW[name]}\n")
        was = await everything(connection)
        before = {
            account: await balance(connection, account) for account in ("A1", "A2", "A3", "A4")
        }
        (found,) = await rehearsed(connection, new, start)
        assert await everything(connection) == was
        await follow(connection, site, new)
        await approve_version(connection, "T", start, Said("wang", ""), TODAY)
        await settled(connection)
        after = await charged(connection)
        summary = Summary()
        for account, paid in found.bills.items():
            summary.add(account, paid)
            moved = before[account] - await balance(connection, account)
            assert moved == total(paid.values()).more_fen
            assert {month: fen for (whose, month), fen in after.items() if whose == account} == {
                month: it.would_fen for month, it in paid.items()
            }
        assert len(found.bills) == 4
        assert summary.paid.more_fen != 0
        assert not found.held
        assert await intact(connection)

    on(database_url, story)


def test_a_rehearsal_cannot_write(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            async with reading(connection):
                await connection.execute("DELETE FROM to_settle")

    on(database_url, story)


def test_who_cannot_be_billed_by_it_is_named_and_the_others_are_rehearsed(
    database_url: str, tmp_path: Path
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1, rates="peak")
        site.add(3, rates="peak flat valley")
        site.add(2, rates="peak valley flat", residual_rate="flat")
        found = await site.take_over(connection)
        for n in range(3):
            rates = [Decimal(20 + n), Decimal(10), Decimal(70 + n)]
            day = OPEN + n * DAY
            await store(
                connection,
                freeze(found["P1"], day, 100 + 2 * n, rates=[Decimal(100 + 2 * n)]),
                freeze(found["P2"], day, 100 + 2 * n, rates=rates),
                freeze(found["P3"], day, 100 + 2 * n),
            )
        await follow(connection, site, told(tmp_path, JANUARY))
        new = told(tmp_path, f"{JANUARY}[[version]]\neffective_from = {OPEN}\n{NEW['tou']}\n")
        portions = await rehearsed(connection, new, OPEN)
        bills = {account: paid for it in portions for account, paid in it.bills.items()}
        assert bills == {"A2": {OPEN: (200, 300)}, "A3": {OPEN: (200, 0)}}
        assert [it.held for it in portions] == [frozenset(), frozenset(), frozenset({"A3"})]
        (why,) = [words for it in portions for words in it.unpriced.items()]
        assert why == ("A1", "no register tells the rate flat of T@2026-03-01")

    on(database_url, story)
