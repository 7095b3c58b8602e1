"""An account changes its tariff from a day on."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.tariff_version import TariffVersion
from daemon.billing.span_grace import GRACE
from daemon.transactions.account_tariff import TariffChange, approve_change, file_change
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import settle_marked
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.tariffs import tariffs_of_accounts
from storage import archive
from storage.archive import ArchiveConflict
from storage.documents import Said
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
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

LI = Said("li", "opened a shop")
WANG = Said("wang", "seen")
MOVED = OPEN + 2 * DAY
TO_SHOP = TariffChange("A1", "U", MOVED)


async def site(connection: AsyncConnection[Any], billed_days: int) -> Site:
    """A1 with tariff T at 0.5 yuan, billed so many days of 2 kWh; U costs 1 yuan."""
    site = Site.of(1)
    site.tariffs.append(("U", date(2026, 2, 1), Decimal(1)))
    found = await site.take_over(connection)
    await store(
        connection,
        *(freeze(found["P1"], OPEN + n * DAY, 100 + 2 * n) for n in range(billed_days + 1)),
    )
    return site


async def prices(connection: AsyncConnection[Any], days: int) -> list[Decimal]:
    """Of a kWh of each day since the opening."""
    stored = (await tariffs_of_accounts(connection, {1: "T"}))[1]
    found = [stored.versions.on(OPEN + n * DAY) for n in range(days)]
    return [version.energy["total"] for version in found if version is not None]


def test_days_that_come_are_priced_by_the_new_tariff_at_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=2)
        filed = await file_change(connection, TO_SHOP, LI, NOW)
        assert (filed.state, filed.was, filed.billed_days) == ("counts", "T", 0)
        assert await prices(connection, 4) == [Decimal("0.5")] * 2 + [Decimal(1)] * 2
        assert await balance(connection, "A1") == -200
        meter = (await archive.site_meters(connection))[0]
        await store(connection, freeze(meter, MOVED + DAY, 106))
        assert await balance(connection, "A1") == -400

    on(database_url, story)


def test_a_change_of_billed_days_waits_for_a_second_person(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=4)
        filed = await file_change(connection, TO_SHOP, LI, NOW)
        assert (filed.number, filed.state, filed.billed_days) == (1, "waits", 2)
        assert await file_change(connection, TO_SHOP, LI, NOW) == filed
        assert await prices(connection, 4) == [Decimal("0.5")] * 4
        with pytest.raises(DocumentRefused, match="same_person"):
            await approve_change(connection, 1, LI)
        await approve_change(connection, 1, WANG)
        assert await prices(connection, 4) == [Decimal("0.5")] * 2 + [Decimal(1)] * 2
        marks = "SELECT account_id, from_day, cause FROM to_settle"
        assert await rows(connection, marks) == [(1, MOVED, "tariff")]
        assert await balance(connection, "A1") == -400
        await settle_marked(connection, ARMED, NOW)
        # Two days of 2 kWh cost 0.5 yuan more each.
        assert await balance(connection, "A1") == -600
        assert await intact(connection)

    on(database_url, story)


def test_who_comes_back_to_a_tariff_is_billed_by_all_that_it_had(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=2)
        await file_change(connection, TO_SHOP, LI, NOW)
        await file_change(connection, TariffChange("A1", "T", MOVED + DAY), LI, NOW)
        meter = (await archive.site_meters(connection))[0]
        for n in range(3, 6):  # each by itself, as the days come
            await store(connection, freeze(meter, OPEN + n * DAY, 100 + 2 * n))
        assert await prices(connection, 5) == [
            *[Decimal("0.5")] * 2,
            Decimal(1),
            *[Decimal("0.5")] * 2,
        ]
        assert await balance(connection, "A1") == -200 - 200 - 200
        assert await intact(connection)

    on(database_url, story)


def test_of_one_day_the_last_document_counts(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=1)
        await file_change(connection, TO_SHOP, LI, NOW)
        await file_change(connection, TariffChange("A1", "T", MOVED), LI, NOW)
        assert await prices(connection, 4) == [Decimal("0.5")] * 4

    on(database_url, story)


def test_what_a_trial_would_do_is_not_done(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=4)
        before = await everything(connection)
        tried = await file_change(connection, TO_SHOP, LI, NOW, is_trial=True)
        assert (tried.number, tried.state, tried.billed_days) == (None, "tried", 2)
        assert tried.fen == {"A1": -200}
        assert await everything(connection) == before
        assert await rows(connection, "SELECT FROM document") == []

    on(database_url, story)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (TariffChange("A9", "U", MOVED), "unknown_account: there is no account A9"),
        (TariffChange("A1", "V", MOVED), "no_price: there is no tariff V"),
        (
            TariffChange("A1", "U", date(2026, 1, 31)),
            "before 2026-02-01; change to it from that day on: meterd account tariff A1 U --from "
            "2026-02-01",
        ),
        (TariffChange("A1", "T", MOVED), "nothing_changes: A1 has tariff T on 2026-03-03 already"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    database_url: str, change: TariffChange, told: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=0)
        with pytest.raises(DocumentRefused, match=told):
            await file_change(connection, change, LI, NOW)

    on(database_url, story)


def test_a_tariff_that_cannot_price_the_rates_of_a_point_is_refused(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        files = await site(connection, billed_days=0)
        start = date(2026, 1, 1)
        prices = {"day": Decimal(1), "night": Decimal("0.5")}
        by_rates = tariff_row("R", TariffVersion("R", start, prices))
        rows = replace(files.rows(), tariffs=[*files.rows().tariffs, by_rates])
        await archive.take_over(connection, rows, noon(OPEN))
        told = "no_price: tariff R from 2026-01-01 prices day night, which is none of sharp peak"
        with pytest.raises(DocumentRefused, match=told):
            await file_change(connection, TariffChange("A1", "R", MOVED), LI, NOW)

    on(database_url, story)


def test_an_account_that_was_never_opened_follows_the_files(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, opened_on=None).take_over(connection)
        with pytest.raises(DocumentRefused, match="account_pending: account A1 was never opened"):
            await file_change(connection, TariffChange("A1", "T", OPEN), LI, NOW)

    on(database_url, story)


def test_the_files_may_name_the_new_tariff_and_not_the_old_one(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        files = await site(connection, billed_days=1)
        await file_change(connection, TO_SHOP, LI, NOW)
        taken = await archive.take_over(connection, files.rows(), noon(OPEN))
        assert taken.differing_accounts == ("A1",)
        with pytest.raises(
            ArchiveConflict, match="A1 is open with U from 2026-03-01; in the files: T"
        ):
            await archive.import_accounts(connection, files.rows().accounts, "Li")
        files.accounts[0].update(tariff_id="U", name="Shop")
        await archive.import_accounts(connection, files.rows().accounts, "Li")
        taken = await archive.take_over(connection, files.rows(), noon(OPEN))
        assert taken.differing_accounts == ()
        assert await prices(connection, 3) == [Decimal("0.5")] * 2 + [Decimal(1)]

    on(database_url, story)


def test_a_tariff_that_an_account_is_to_change_to_keeps_its_price(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        files = await site(connection, billed_days=1)
        await file_change(connection, TO_SHOP, LI, NOW)
        files.tariffs[1] = ("U", MOVED + DAY, Decimal(1))
        told = "account A1 changes its tariff 2026-03-03, before the first version of tariff U"
        with pytest.raises(ArchiveConflict, match=told):
            await files.take_over(connection)

    on(database_url, story)


def test_a_change_of_past_days_spares_the_customer_also_beside_a_new_day(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=0)
        (meter,) = await archive.site_meters(connection)
        for n in range(1, 11):
            day = OPEN + n * DAY
            await store(connection, freeze(meter, day, 100 + 40 * n), now=noon(day))
        told = "SELECT span_grace_until FROM account"
        assert await rows(connection, told) == [None]
        filed = await file_change(connection, TO_SHOP, LI, NOW)
        assert filed.number is not None
        await approve_change(connection, filed.number, WANG)
        now = noon(OPEN + 11 * DAY)
        await store(connection, freeze(meter, OPEN + 11 * DAY, 540), now=now)
        # Eight days of 40 kWh cost 20 yuan more each: more than three days' usual cost.
        assert await rows(connection, told) == [now + GRACE]

    on(database_url, story)
