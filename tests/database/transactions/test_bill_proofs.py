"""Bills of what the cases do not tell, read from the database and verified without it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg import AsyncConnection

from config.tariff_version import Ladder, TariffVersion
from daemon.billing.pricing import rounded_fen
from daemon.billing.proof.bill import BillFacts, LinkFact
from daemon.control.authority import Authority
from daemon.transactions.account_tariff import TariffChange, file_change
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import settle_marked
from daemon.transactions.decisions import Order, approve, decide
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.filing import approve as approve_document
from daemon.transactions.documents.filing import file_document
from daemon.transactions.documents.handover import Assignment, Release
from daemon.transactions.explanation import explain_day
from daemon.transactions.month_close import close_month
from daemon.transactions.proofs import journal
from daemon.transactions.proofs.bills import bills
from daemon.transactions.sealing import seal, sealed_now
from storage import archive, proofs
from storage.archive import SiteMeter
from storage.documents import Said
from storage.explanation import one_moment
from storage.seals import Block
from tests.database.proven import proven
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    TODAY,
    ZONE,
    Site,
    freeze,
    meters,
    noon,
    on,
    pay,
    store,
)

APRIL = date(2026, 4, 1)


def this_month() -> date:
    """Asked for when it is needed: a month may begin while the tests run."""
    return datetime.now(ZONE).date().replace(day=1)


LI, WANG = Said("li", "as it was"), Said("wang", "seen")


async def read(
    connection: AsyncConnection[Any],
    meter: SiteMeter,
    registers: dict[int, int | str],
    authority: Authority = ARMED,
) -> None:
    """Freezes by day since the opening."""
    found = [freeze(meter, OPEN + day * DAY, kwh) for day, kwh in registers.items()]
    await store(connection, *found, authority=authority)


def of_month(bills: list[BillFacts], month: date, account: str = "A1") -> BillFacts:
    (bill,) = [it for it in bills if (it.month, it.account) == (month, account)]
    return bill


def test_an_adjustment_of_a_closed_month_is_on_the_bill_of_the_month_it_is_made_in(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await read(connection, meter, {0: 100, 1: 110})
        await close_month(connection, OPEN, LI, APRIL)
        await read(connection, meter, {2: 130})
        bills = await proven(connection)
        march, now = of_month(bills, OPEN), of_month(bills, this_month())
        assert (march.money.charged_fen, now.money.charged_fen) == (500, 1000)
        assert now.money.opening_fen == -500
        assert now.money.rated_months == [OPEN, this_month()]
        assert sum(march.money.charged.values()) == 1500

    on(database_url, story)


def test_a_span_over_the_end_of_a_month_whose_days_are_not_equally_long(database_url: str) -> None:
    berlin = ZoneInfo("Europe/Berlin")

    async def story(connection: AsyncConnection[Any]) -> None:
        site = replace(Site.of(), zone=berlin)
        meter = (await site.take_over(connection))["P1"]
        # The clocks change on the 29th: 95 of 119 hours lie in March.
        there = replace(ARMED, zone=berlin)
        await read(connection, meter, {**{day: 3 * day for day in range(28)}, 32: 200}, there)
        bills = await proven(connection, berlin)
        found = [of_month(bills, it).money.charged_fen for it in (OPEN, APRIL)]
        assert found == [8800, 1200]

    on(database_url, story)


def test_an_account_that_changed_its_tariff_in_the_month(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of()
        site.tariffs.append(("U", date(2026, 2, 1), Decimal(1)))
        meter = (await site.take_over(connection))["P1"]
        await file_change(connection, TariffChange("A1", "U", OPEN + 2 * DAY), LI, NOW)
        await read(connection, meter, {0: 100, 1: 102, 4: 108})
        bill = of_month(await proven(connection), OPEN)
        assert bill.money.charged_fen == 2 * 100 + 4 * 100
        assert len(bill.terms.versions.all) == 2

    on(database_url, story)


def test_a_point_that_was_somebody_elses_for_some_days(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(2).take_over(connection))["P1"]
        await read(connection, meter, {day: 100 + 5 * day for day in range(7)})
        await file_document(connection, Release("P1", OPEN + 2 * DAY), LI, NOW)
        await approve_document(connection, 1, WANG, NOW)
        await file_document(connection, Assignment("P1", "A2", OPEN + 2 * DAY), LI, NOW)
        await settle_marked(connection, ARMED, NOW)
        bills = await proven(connection)
        charged = {it.account: it.money.charged_fen for it in bills if it.month == OPEN}
        assert charged == {"A1": 500, "A2": 1000}

    on(database_url, story)


def test_a_held_span_is_on_the_bill_and_costs_nothing_until_it_is_released(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await read(connection, meter, {0: 100, 1: 105, 10: 150})
        order = Order("P1", OPEN + 10 * DAY, "release_link", "li", "right", from_day=OPEN + DAY)
        made = await decide(connection, order)
        await settle_marked(connection, ARMED, NOW)
        held = of_month(await proven(connection), OPEN)
        assert [it.held for it in held.measured.links] == [None, "span"]
        await approve(connection, made.number, "wang")
        await settle_marked(connection, ARMED, NOW)
        bill = of_month(await proven(connection), OPEN)
        assert [it.held for it in bill.measured.links] == [None, None]
        assert bill.money.charged_fen == 2500

    on(database_url, story)


def test_a_register_that_began_anew_inside_a_link(database_url: str) -> None:
    """Story 308: at one moment it shows two values."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await read(connection, meter, {0: 100, 1: 105})
        moment = datetime.combine(OPEN + DAY, time(10, 30), ZONE)
        restart = Exchange("P1", moment, None, (Decimal(107),), (Decimal(2),))
        await file_document(connection, restart, LI, NOW)
        await read(connection, (await meters(connection))["P1"], {2: 4, 3: 9})
        bills = await proven(connection)
        assert of_month(bills, OPEN).money.charged_fen == 250 + 200 + 250

    on(database_url, story)


def test_an_exchange_in_a_span_over_the_end_of_a_month(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await read(connection, meter, {day: 100 + day for day in range(30)})
        moment = datetime.combine(APRIL, time(10, 30), ZONE)
        final, initial = (Decimal("133.25"),), (Decimal("7.25"),)
        change = Exchange("P1", moment, "000000000077", final, initial, ratio=Decimal(2))
        filed = await file_document(connection, change, LI, NOW)
        assert filed.number is not None
        await approve_document(connection, filed.number, WANG, NOW)
        new = (await meters(connection))["P1"]
        await read(connection, new, {33: "10.55"})
        bills = await proven(connection)
        # 58.5 hours of the old meter, 48 of which are March's; then the other one, by its ratio.
        links = of_month(bills, APRIL).measured.links
        assert [type(it) for it in links[-2:]] == [LinkFact, LinkFact]
        sources = {it.source for it in of_month(bills, APRIL).measured.readings}
        assert "document 1" in sources
        charged = [of_month(bills, it).money.charged_fen for it in (OPEN, APRIL)]
        assert charged == [1625, 368]

    on(database_url, story)


@pytest.mark.parametrize("first", ["P1", "P2"])
def test_of_two_meters_a_matrix_takes_the_same_first_whichever_was_read_first(
    database_url: str, first: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2, account="A1", rates="peak valley")
        site.accounts = site.accounts[:1]
        await site.take_over(connection)
        rows = [
            {"peak": Decimal(1), "valley": Decimal(1)},
            {"peak": Decimal(3), "valley": Decimal(2)},
        ]
        ladder = Ladder("month", "matrix", (Decimal(10),), matrix=tuple(rows))
        version = TariffVersion("T@2026-01-01", date(2026, 1, 1), {}, ladder=ladder)
        told = replace(site.rows(), tariffs=[tariff_row("T", version)])
        await archive.take_over(connection, told, noon(TODAY))
        found = await meters(connection)
        for point in (first, "P2" if first == "P1" else "P1"):
            for day in range(2):
                peak, valley = (8 * day, 0) if point == "P1" else (0, 8 * day)
                rates = [Decimal(peak), Decimal(valley)]
                await store(
                    connection, freeze(found[point], OPEN + day * DAY, 8 * day, rates=rates)
                )
        # P1 is within the first step; of P2 lie 2 kWh in it, and 6 above it.
        (bill,) = [it for it in await proven(connection) if it.month == OPEN]
        assert bill.money.charged_fen == 800 + 200 + 1200
        async with one_moment(connection):
            (stream,) = (await explain_day(connection, "A1", OPEN, ZONE)).streams
        assert (rounded_fen(stream.change.now), stream.now_fen) == (2200, 2200)

    on(database_url, story)


def test_payments_make_the_balance(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await pay(connection, "A1", 700)
        await read(connection, meter, {0: 100, 1: 110})
        now = of_month(await proven(connection), this_month())
        assert (now.money.opening_fen, now.money.others_fen) == (-500, 700)

    on(database_url, story)


def test_of_many_blocks_some_are_looked_at_at_once_and_the_bill_is_the_same(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await read(connection, meter, {0: 100, 1: 110})
        for number in range(5):
            await pay(connection, "A1", 100, str(number))
        while await seal(connection, NOW, most=1):
            pass
        (account,) = await proofs.in_service(connection, this_month())
        whole = await bills(connection, [account], this_month(), ZONE)
        assert len({it.block for it in whole[0].seals.lines}) > 3
        portions = []

        async def looked_at(connection: AsyncConnection[Any], blocks: Sequence[Block]) -> Any:
            portions.append(len(blocks))
            return await sealed_now(connection, blocks)

        monkeypatch.setattr(journal, "BLOCKS_AT_ONCE", 2)
        monkeypatch.setattr(journal, "sealed_now", looked_at)
        assert await bills(connection, [account], this_month(), ZONE) == whole
        assert max(portions) == 2 < sum(portions)

    on(database_url, story)
