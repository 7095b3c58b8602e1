"""Taking over a configuration: what was billed stays as it was billed, all else follows the
files."""

from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg import AsyncConnection

from storage import archive
from storage.archive import ArchiveConflict
from storage.owner import ForeignSite, claim
from tests.database.small_site import (
    DAY,
    OPEN,
    ZONE,
    Site,
    balance,
    everything,
    freeze,
    links,
    meters,
    noon,
    on,
    rows,
    store,
)

pytestmark = pytest.mark.hypertables

BILLED_TO = OPEN + 2 * DAY


async def billed(connection: AsyncConnection[Any]) -> Site:
    """Two accounts; the first has use billed on 1 and 2 March, the second is pending without a
    reading."""
    site = Site.of(2)
    site.tariffs.append(("T", date(2026, 6, 1), Decimal("0.6")))
    found = await site.take_over(connection)
    await store(connection, *(freeze(found["P1"], OPEN + n * DAY, 100 + n) for n in range(3)))
    return site


@pytest.mark.parametrize(
    ("subject", "row", "changes", "told"),
    [
        (
            "points",
            0,
            {"ratio": Decimal(2)},
            "point P1 is billed with ratio 1; configured now: ratio 2",
        ),
        (
            "points",
            0,
            {"account": "A2"},
            "point P1 is billed to account A1; configured now: account A2",
        ),
        (
            "meters",
            0,
            {"address": "000000000009"},
            "meter 000000000001 serves P1; configured now: 000000000009 at P1",
        ),
        (
            "meters",
            0,
            {"modulus": 10_000_000},
            "meter 000000000001 was read with a register of 100000000 with 2 decimals; configured",
        ),
        (
            "meters",
            0,
            {"decimals": 3},
            "was read with a register of 100000000 with 2 decimals; configured now:",
        ),
        (
            "meters",
            0,
            {"installed_on": OPEN + DAY},
            "meter 000000000001 is billed from 2026-01-01; configured now: from 2026-03-02",
        ),
    ],
)
def test_a_change_of_what_is_billed_is_refused_and_changes_nothing(
    database_url: str, subject: str, row: int, changes: dict[str, Any], told: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        site.tariffs.append(("U", date(2026, 1, 1), Decimal(1)))
        site.accounts[1]["name"] = "new name"
        getattr(site, subject)[row].update(changes)
        before = await everything(connection)
        with pytest.raises(ArchiveConflict, match=told) as refusal:
            await site.take_over(connection)
        assert str(refusal.value).endswith("a change of these needs a document, not an edit")
        assert await everything(connection) == before

    on(database_url, story)


def test_every_conflict_is_named_at_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        site.tariffs[0] = ("T", date(2026, 1, 1), Decimal(1))
        site.points[0]["ratio"] = Decimal(3)
        site.meters[0]["address"] = "000000000009"
        with pytest.raises(ArchiveConflict) as refusal:
            await site.take_over(connection)
        told = [line for line in str(refusal.value).splitlines() if line[0] != " "]
        assert [line.split()[0] for line in told] == ["tariff", "point", "meter", "a"]

    on(database_url, story)


@pytest.mark.parametrize("clocks", [[], ["standard"], ["standard", "zone"]])
def test_the_time_that_a_meter_keeps_is_what_was_said_of_it_last(
    database_url: str, clocks: list[str]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        for rev, clock in enumerate(clocks):
            await connection.execute(
                "INSERT INTO clock_setting (meter_id, rev, clock) SELECT id, %s, %s FROM meter",
                [rev, clock],
            )
        (meter,) = await archive.site_meters(connection)
        assert meter.keeps_standard_time == (clocks == ["standard"])

    on(database_url, story)


def test_the_same_configuration_again_changes_nothing(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        before = await everything(connection)
        await site.take_over(connection)
        assert await everything(connection) == before

    on(database_url, story)


def test_what_does_not_touch_billed_use_follows_the_files(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        site.points[0].update(
            max_daily_kwh=Decimal(500), reconnect="close", protected=True, life_support=True
        )
        site.points[1].update(phases=3, rates="peak flat valley", residual_rate="flat")
        site.meters[0].update(line="bus-2", installed_on=date(2025, 12, 24))
        site.meters[1].update(modulus=10_000_000, decimals=1)
        found = await site.take_over(connection)
        point = "SELECT reconnect, protected, life_support FROM point WHERE number = 'P1'"
        assert await rows(connection, point) == [("close", True, True)]
        priced = "SELECT phases, rates, residual_rate FROM point ORDER BY number LIMIT 2"
        assert await rows(connection, priced) == [
            (1, ["sharp", "peak", "flat", "valley"], None),
            (3, ["peak", "flat", "valley"], "flat"),
        ]
        assert found["P1"].max_daily_kwh == Decimal(500)
        assert (found["P1"].line, found["P1"].installed_on) == ("bus-2", date(2025, 12, 24))
        assert (found["P2"].modulus, found["P2"].decimals) == (10_000_000, 1)

    on(database_url, story)


@pytest.mark.parametrize(
    "change", [{"phases": 3}, {"rates": "peak flat"}, {"residual_rate": "flat"}]
)
def test_what_prices_look_at_is_rated_again_for_whoever_was_billed_for_the_point(
    database_url: str, change: dict[str, Any]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        await connection.execute("DELETE FROM to_settle")
        await site.take_over(connection)
        assert await rows(connection, "SELECT FROM to_settle") == []
        site.points[1].update(change)
        await site.take_over(connection)
        of_point = "SELECT account_id FROM point_account JOIN point p ON p.id = point_id "
        assert await rows(connection, "SELECT account_id, from_day, cause FROM to_settle") == [
            (account, date(2000, 1, 1), "facts")
            for account in await rows(connection, of_point + "WHERE p.number = 'P2'")
        ]

    on(database_url, story)


THRESHOLDS = {"warn_fen": 5000, "trip_fen": -100, "reconnect_fen": 200, "credit_limit_fen": 300}


async def account_of(connection: AsyncConnection[Any], number: str) -> dict[str, Any]:
    found = await archive.account(connection, number)
    assert found is not None
    return dict(found)


def test_an_open_account_is_imported_when_somebody_says_so_and_never_by_a_start(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        before = await account_of(connection, "A1")
        site.accounts[0].update(name="Flat 1", **THRESHOLDS)
        taken = await archive.take_over(connection, site.rows(), noon(OPEN))
        assert taken.differing_accounts == ("A1",)
        assert await account_of(connection, "A1") == before
        assert await archive.import_accounts(connection, site.rows().accounts, "Li") == ["A1"]
        assert await account_of(connection, "A1") == {**before, "name": "Flat 1", **THRESHOLDS}
        # What a threshold means for the account is found out now, not when money moves.
        assert await rows(connection, "SELECT account_id FROM to_settle") == [1]
        assert await archive.import_accounts(connection, site.rows().accounts, "Li") == []

    on(database_url, story)


def test_the_journal_of_accounts_says_what_each_was_and_who_changed_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        journal = (
            "SELECT actor, account_id, name, warn_fen FROM account_journal ORDER BY changed_at"
        )
        await connection.execute("UPDATE account SET credit_state = 'low'")
        assert await rows(connection, journal) == []
        before = await account_of(connection, "A1")
        site.accounts[0].update(name="Flat 1", **THRESHOLDS)
        await archive.import_accounts(connection, site.rows().accounts, "Li")
        await connection.execute("UPDATE account SET name = 'Flat 2' WHERE number = 'A1'")
        assert await rows(connection, journal) == [
            ("Li", 1, before["name"], before["warn_fen"]),
            ("system", 1, "Flat 1", THRESHOLDS["warn_fen"]),
        ]

    on(database_url, story)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tariff_id": "U"}, "account A1 is open with T from 2026-03-01; in the files: U from"),
        ({"opened_on": OPEN + DAY}, "in the files: T from 2026-03-02"),
    ],
)
def test_an_import_changes_no_tariff_or_opening_day_with_money_behind_it(
    database_url: str, changes: dict[str, Any], told: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        site.accounts[0].update(changes)
        before = await everything(connection)
        with pytest.raises(ArchiveConflict, match=told):
            await archive.import_accounts(connection, site.rows().accounts, "Li")
        assert await everything(connection) == before

    on(database_url, story)


def test_an_opening_that_waits_for_its_freeze_is_overwritten_by_no_slip(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, opened_on=None, agreement=None).take_over(connection)
        told: dict[str, Any] = {"points": (), "opened_on": OPEN, "agreement": "signed"}
        await archive.open_account(connection, "A1", **told)
        await archive.open_account(connection, "A1", **told)  # the same again says nothing new
        for other in ({"opened_on": OPEN + DAY}, {"agreement": "another"}):
            with pytest.raises(ArchiveConflict, match="from 2026-03-01 by agreement signed; `--a"):
                await archive.open_account(connection, "A1", **told | other)
        assert (await account_of(connection, "A1"))["open_from"] == OPEN
        await archive.open_account(connection, "A1", **told | {"opened_on": OPEN + DAY}, again=True)
        assert (await account_of(connection, "A1"))["open_from"] == OPEN + DAY

    on(database_url, story)


def test_a_pending_account_whose_first_point_is_billed_keeps_its_opening_day(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2)
        site.points[1]["account"] = "A1"
        found = await site.take_over(connection)
        await store(connection, *(freeze(found["P1"], OPEN + n * DAY, 100 + n) for n in range(3)))
        assert await rows(connection, "SELECT state FROM account WHERE number = 'A1'") == [
            "pending"
        ]
        site.accounts[0]["opened_on"] = OPEN + DAY
        await site.take_over(connection)
        assert (await account_of(connection, "A1"))["open_from"] == OPEN
        with pytest.raises(ArchiveConflict, match="account A1 is open with T from 2026-03-01"):
            await archive.import_accounts(connection, site.rows().accounts, "Li")
        with pytest.raises(ArchiveConflict, match="account A1 is open already"):
            await archive.open_account(
                connection, "A1", points=[], opened_on=OPEN + DAY, agreement="x"
            )

    on(database_url, story)


def test_a_vacant_point_given_to_an_account_in_use_is_billed_from_today_on(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2)
        site.points[1]["account"] = None
        found = await site.take_over(connection)
        for point in ("P1", "P2"):
            await store(
                connection, *(freeze(found[point], OPEN + n * DAY, 100 + n) for n in range(6))
            )
        before = await balance(connection, "A1")
        site.points[1]["account"] = "A1"
        await site.take_over(connection, today=OPEN + 5 * DAY)
        await store(connection, freeze(found["P2"], OPEN + 6 * DAY, 108))
        assert await links(connection, "P2") == [
            (OPEN + 5 * DAY, OPEN + 6 * DAY, "billed"),
        ]
        assert await balance(connection, "A1") == before - 150

    on(database_url, story)


def test_a_point_that_was_released_is_not_taken_back_by_a_start(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        await connection.execute(
            "UPDATE point_account SET to_day = %s WHERE point_id = 1", (OPEN + 2 * DAY,)
        )
        taken = await archive.take_over(connection, site.rows(), noon(OPEN + 3 * DAY))
        assert taken.stale == ("points.csv, P1: account: write  instead of A1",)
        found = await meters(connection)
        before = await balance(connection, "A1")
        await store(connection, freeze(found["P1"], OPEN + 3 * DAY, 110))
        assert await balance(connection, "A1") == before
        site.points[0]["account"] = "A2"
        await archive.take_over(connection, site.rows(), noon(OPEN + 3 * DAY))
        owners = (
            "SELECT account_id, from_day FROM point_account WHERE to_day IS NULL AND point_id = 1"
        )
        assert await rows(connection, owners) == [(2, OPEN + 2 * DAY)]

    on(database_url, story)


def test_a_mistyped_address_is_edited_until_a_reading_came_from_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2)
        await site.take_over(connection)
        one, two = (meter["address"] for meter in site.meters)
        site.meters[0]["address"] = "000000000077"
        found = await site.take_over(connection)
        assert found["P1"].address == "000000000077"
        site.meters[0]["address"], site.meters[1]["address"] = two, one
        found = await site.take_over(connection)
        assert (found["P1"].address, found["P2"].address) == (two, one)
        await store(connection, freeze(found["P1"], OPEN, 100))
        site.meters[0]["address"] = "000000000078"
        with pytest.raises(ArchiveConflict, match=f"meter {two} serves P1; configured now:"):
            await site.take_over(connection)

    on(database_url, story)


def test_a_limit_that_was_too_small_is_mended_from_the_beginning_and_a_smaller_one_from_today(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1)
        await site.take_over(connection)
        limits = (
            "SELECT DISTINCT ON (from_day) from_day, max_daily_kwh::int FROM point_limit "
            "ORDER BY from_day, rev DESC"
        )
        for kwh, expected in (
            (500, [(archive.BEGINNING, 500)]),
            (400, [(archive.BEGINNING, 500), (OPEN, 400)]),
            (450, [(archive.BEGINNING, 500), (OPEN, 450)]),
            (600, [(archive.BEGINNING, 600), (OPEN, 600)]),
        ):
            site.points[0]["max_daily_kwh"] = Decimal(kwh)
            taken = await archive.take_over(connection, site.rows(), noon(OPEN))
            assert set(taken.limited) == {1}
            assert await rows(connection, limits) == expected

    on(database_url, story)


def test_another_site_is_refused(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await claim(connection, "north", ZONE)
        await claim(connection, "north", ZONE)
        for name, zone in (("south", ZONE), ("north", ZoneInfo("Asia/Urumqi"))):
            with pytest.raises(ForeignSite, match="holds the site north in zone Asia/Shanghai"):
                await claim(connection, name, zone)

    on(database_url, story)


def test_an_account_is_opened_once_and_only_with_points_that_are_free(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2, opened_on=None, agreement=None, account=None)
        site.points[1]["account"] = "A2"
        await site.take_over(connection)
        before = await everything(connection)
        for account, points, told in (
            ("A9", [], "account A9 is unknown: accounts come from"),
            ("A1", ["P1", "P2"], "point P2 is unknown or another account's"),
            ("A1", ["P9"], "point P9 is unknown or another account's"),
        ):
            with pytest.raises(ArchiveConflict, match=told):
                await archive.open_account(
                    connection, account, points=points, opened_on=OPEN, agreement="signed"
                )
            assert await everything(connection) == before
        await archive.open_account(
            connection, "A1", points=["P1"], opened_on=OPEN, agreement="signed"
        )
        (found,) = await archive.points_of_account(connection, "A1")
        assert (found["id"], found["address"]) == ("P1", "000000000001")
        await site.take_over(connection)  # the files say nothing of it, so it stays
        opened = await archive.account(connection, "A1")
        assert opened is not None
        assert (opened["open_from"], opened["agreement"], opened["balance_fen"]) == (
            OPEN,
            "signed",
            0,
        )

    on(database_url, story)


def test_an_account_that_opens_before_its_tariff_has_a_price_is_refused(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1, opened_on=date(2025, 12, 31))
        before = await everything(connection)
        with pytest.raises(ArchiveConflict, match="A1 opens 2025-12-31, before the first version"):
            await site.take_over(connection)
        assert await everything(connection) == before

    on(database_url, story)
