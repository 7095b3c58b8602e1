"""What is known of an account and its points besides use is billed: bonuses, use that others
billed, closed days, the last day, the registers of a meter."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.tariff_version import TOTAL, Fixed, Ladder, TariffVersion
from daemon.transactions.account_entries import (
    Entry,
    HouseholdBonus,
    UsedElsewhere,
    approve_entry,
    file_entry,
)
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import settle_marked
from daemon.transactions.day_close import close_days
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.documents.filing import reject
from daemon.transactions.point_pricing import approve_pricing, preview, waiting_in_words
from storage import archive
from storage.documents import Said
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    TODAY,
    ZONE,
    Site,
    balance,
    freeze,
    intact,
    meters,
    noon,
    on,
    rows,
    store,
)

LI, WANG = Said("li", "five children"), Said("wang", "")
START = date(2026, 1, 1)
KWH = (Decimal(10),)
STEPS = (Decimal("0.5"), Decimal(1))
BY_YEAR = TariffVersion("T", START, {}, Ladder("year", "price", KWH, STEPS))
BY_MONTH = TariffVersion("T", START, {}, Ladder("month", "price", KWH, STEPS))
BY_DAY = TariffVersion("T", START, {TOTAL: Decimal(1)}, fixed=Fixed(daily_yuan=Decimal("0.5")))
PEAK_FLAT = TariffVersion("T", START, {"peak": Decimal(1), "flat": Decimal("0.1")})


async def a_site(connection: AsyncConnection[Any], version: TariffVersion, **changes: Any) -> None:
    """A1 with this tariff."""
    await Site.of(1).take_over(connection)
    await take_over(connection, version, **changes)


async def take_over(
    connection: AsyncConnection[Any], version: TariffVersion, **changes: Any
) -> None:
    rows = replace(Site.of(1, **changes).rows(), tariffs=[tariff_row("T", version)])
    await archive.take_over(connection, rows, noon(TODAY))


async def use(connection: AsyncConnection[Any], days: Sequence[tuple[str, ...]]) -> None:
    """Freezes from the opening on: the total and the rates."""
    meter = (await meters(connection))["P1"]
    for number, (total, *rates) in enumerate(days):
        told = freeze(meter, OPEN + number * DAY, total, rates=[Decimal(it) for it in rates])
        await store(connection, told)


async def settled(connection: AsyncConnection[Any]) -> int:
    await settle_marked(connection, ARMED, NOW)
    assert await intact(connection)
    return await balance(connection, "A1")


def test_an_account_that_was_never_opened_owes_no_fees(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2)
        site.accounts[1] |= {"opened_on": None, "agreement": None}
        await site.take_over(connection)
        rows = replace(site.rows(), tariffs=[tariff_row("T", BY_DAY)])
        await archive.take_over(connection, rows, noon(TODAY))
        await close_days(connection, ZONE, noon(OPEN + 2 * DAY))
        assert await settled(connection) == -100
        assert await balance(connection, "A2") == 0

    on(database_url, story)


@pytest.mark.parametrize(
    ("version", "entry", "moved_fen"),
    [
        # Of 20 kWh ten cost 1 yuan; with twelve months of 1 kWh all cost 0.50.
        (BY_YEAR, HouseholdBonus("A1", START, Decimal(1)), 500),
        (BY_YEAR, HouseholdBonus("A1", date(2026, 12, 1), Decimal(3)), 150),
        (BY_MONTH, HouseholdBonus("A1", OPEN, Decimal(3)), 150),
        (BY_MONTH, HouseholdBonus("A1", OPEN + DAY, Decimal(3)), 0),
        (BY_YEAR, UsedElsewhere("A1", "2026", Decimal(4)), -200),
        (BY_MONTH, UsedElsewhere("A1", "2026-03", Decimal(100)), -500),
        (BY_MONTH, UsedElsewhere("A1", "2026-04", Decimal(100)), 0),
    ],
)
def test_what_is_said_late_moves_the_balance_as_its_trial_told(
    database_url: str, version: TariffVersion, entry: Entry, moved_fen: int
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection, version)
        await use(connection, [(f"{100 + 4 * number}",) for number in range(6)])
        before = await settled(connection)
        assert before == -1500
        tried = await file_entry(connection, entry, LI, NOW, is_trial=True)
        assert tried.fen == moved_fen
        assert await settled(connection) == before
        filed = await file_entry(connection, entry, LI, NOW)
        if filed.state == "waits":
            assert await settled(connection) == before
            assert filed.number is not None
            await approve_entry(connection, filed.number, WANG)
        assert await settled(connection) == before + moved_fen

    on(database_url, story)


def test_closed_days_are_charged_up_to_the_last_day_in_service(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection, BY_DAY)
        await use(connection, [("100",), ("104",)])
        assert await settled(connection) == -400
        await close_days(connection, ZONE, at(OPEN + 3 * DAY))
        assert await settled(connection) == -400 - 150
        await connection.execute("UPDATE account SET last_day = %s", (OPEN + 4 * DAY,))
        await close_days(connection, ZONE, at(OPEN + 12 * DAY))
        assert await settled(connection) == -400 - 250
        await close_days(connection, ZONE, at(OPEN + 12 * DAY))
        assert await settled(connection) == -400 - 250

    on(database_url, story)


OTHER: dict[str, Any] = {"rates": "peak flat", "residual_rate": "peak"}
WAITING = "SELECT d.id FROM document d WHERE waits AND id NOT IN (SELECT document_id FROM document_review)"
RESIDUAL = "SELECT residual_rate FROM point"


async def billed_by_rates(connection: AsyncConnection[Any]) -> None:
    await a_site(connection, PEAK_FLAT, rates="peak flat", residual_rate="flat")
    await use(connection, [("100.01", "40", "60"), ("110.01", "44", "65.99")])
    assert await settled(connection) == -460


def test_another_residual_rate_rates_billed_days_again_when_a_second_person_agrees(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed_by_rates(connection)
        for _ in range(2):  # the same files again tell nothing anew
            await take_over(connection, PEAK_FLAT, **OTHER)
        assert await rows(connection, WAITING) == [1]
        assert await rows(connection, RESIDUAL) == ["flat"]
        assert await settled(connection) == -460
        (words,) = await waiting_in_words(connection)
        assert words == (
            "P1: residual rate peak instead of flat; every billed day is rated again; told by daemon, "
            "it waits for a second person: meterd document approve 1 --actor NAME"
        )
        # 10.00 - 5.99 at the peak, 5.99 by its own register.
        assert (await preview(connection, 1, NOW)).fen == {"A1": -1}
        assert await settled(connection) == -460
        with pytest.raises(DocumentRefused, match="same_person"):
            await approve_pricing(connection, 1, Said("Daemon", ""), NOW)
        assert (await approve_pricing(connection, 1, WANG, NOW)).fen == {"A1": -1}
        assert await settled(connection) == -461
        await take_over(connection, PEAK_FLAT, **OTHER)
        assert await rows(connection, WAITING) == []
        assert await settled(connection) == -461

    on(database_url, story)


def test_a_pricing_that_was_rejected_or_taken_out_of_the_file_does_not_wait(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed_by_rates(connection)
        before = {"rates": "peak flat", "residual_rate": "flat"}
        for number in (1, 2):
            await take_over(connection, PEAK_FLAT, **OTHER)
            assert await rows(connection, WAITING) == [number]
            await take_over(connection, PEAK_FLAT, **before)
            assert await rows(connection, WAITING) == []
        await take_over(connection, PEAK_FLAT, **OTHER)
        await reject(connection, 3, WANG)
        files = replace(Site.of(1, **OTHER).rows(), tariffs=[tariff_row("T", PEAK_FLAT)])
        (stale,) = (await archive.take_over(connection, files, noon(TODAY))).stale
        assert stale.startswith("points.csv, P1: phases, rates or residual_rate were rejected")
        assert await rows(connection, WAITING) == []
        assert await rows(connection, RESIDUAL) == ["flat"]
        assert await settled(connection) == -460

    on(database_url, story)


def test_a_pricing_by_which_nobody_could_be_billed_is_refused(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed_by_rates(connection)
        await take_over(connection, PEAK_FLAT, rates="day night", residual_rate="night")
        for trial in (preview(connection, 1, NOW), approve_pricing(connection, 1, WANG, NOW)):
            with pytest.raises(DocumentRefused, match="no_price: P1 could not be billed so"):
                await trial
        assert await rows(connection, WAITING) == [1]
        assert await settled(connection) == -460

    on(database_url, story)


def test_registers_of_which_nothing_was_billed_follow_the_files(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection, PEAK_FLAT, rates="peak flat", residual_rate="flat")
        await take_over(connection, PEAK_FLAT, **OTHER)
        assert await rows(connection, WAITING) == []
        assert await rows(connection, RESIDUAL) == ["peak"]

    on(database_url, story)


def at(day: date) -> datetime:
    return datetime.combine(day, time(1), ZONE)
