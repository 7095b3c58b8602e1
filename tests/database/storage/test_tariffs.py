"""Versions of tariffs in the database: which count, and what of them may change."""

import asyncio
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from config.tariff_version import TOTAL, Fixed, TariffVersion
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import settle_marked
from daemon.transactions.documents import filing
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.tariff_versions import (
    approve_document,
    approve_version,
    reject_version,
    waiting_in_words,
)
from daemon.transactions.tariffs import stored_versions
from storage import archive
from storage.archive import ArchiveConflict
from storage.documents import Said
from storage.tariffs import mark_used
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    TODAY,
    Site,
    balance,
    connect,
    freeze,
    intact,
    noon,
    on,
    rows,
    store,
)

JANUARY = ("T", date(2026, 1, 1), Decimal("0.5"))
JUNE = ("T", date(2026, 6, 1), Decimal("0.6"))
JULY = ("U", date(2026, 7, 1), Decimal("0.70"))


def test_versions_that_count_are_found_by_tariff_in_order_of_their_start(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site(tariffs=[JUNE, JULY, JANUARY]).take_over(connection)
        await Site(tariffs=[JANUARY]).take_over(connection)
        await Site(tariffs=[JUNE, JANUARY]).take_over(connection)
        found = await stored_versions(connection, {"T", "U", "V"})
        assert {
            tariff: [(it.effective_from, it.energy[TOTAL]) for it in stored.versions.all]
            for tariff, stored in found.items()
        } == {"T": [JANUARY[1:], JUNE[1:]], "U": [JULY[1:]]}
        assert (found["T"].numbers, found["U"].numbers) == ((1, 4), (3,))

    on(database_url, story)


def test_who_bills_by_a_version_that_the_files_withdraw_meanwhile_begins_anew(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site(tariffs=[JANUARY]).take_over(connection)
        async with await connect(database_url) as other, other.transaction():
            found = await stored_versions(other, {"T"})
            await Site(tariffs=[JUNE]).take_over(connection)
            with pytest.raises(psycopg.errors.SerializationFailure, match="withdrawn meanwhile"):
                async with other.transaction():
                    await mark_used(other, found["T"].numbers)
        assert await rows(connection, "SELECT is_used FROM tariff_version") == [False, False]

    on(database_url, story)


LI = Said("li", "")
WANG = Said("wang", "as the decree says")
MARCH_3 = ("T", OPEN + 2 * DAY, Decimal("0.8"))
NEXT_YEAR = ("T", TODAY + 400 * DAY, Decimal("0.9"))
STATES = (
    "SELECT effective_from, (form #>> '{energy,price}')::numeric, state FROM tariff_version "
    "WHERE tariff_id = 'T' ORDER BY number"
)


async def billed(connection: AsyncConnection[Any]) -> Site:
    """A1 and A2, billed by T for 1 to 4 March and for 1 March."""
    site = Site.of(2)
    site.tariffs = [JANUARY]
    found = await site.take_over(connection)
    await store(connection, *(freeze(found["P1"], OPEN + n * DAY, 100 + n) for n in range(5)))
    await store(connection, *(freeze(found["P2"], OPEN + n * DAY, 100 + n) for n in range(2)))
    return site


async def told(connection: AsyncConnection[Any], site: Site, *versions: Any) -> archive.TakenOver:
    """Li reloads files with these versions."""
    site.tariffs = list(versions)
    return await archive.take_over(connection, site.rows(), noon(TODAY), actor="li")


def test_versions_follow_the_files_until_somebody_is_billed(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1)
        for versions in ([JANUARY, JUNE], [JANUARY, (*JUNE[:2], Decimal("0.7"))], [JANUARY]):
            await told(connection, site, *versions)
        assert await rows(connection, STATES) == [
            (*JANUARY[1:], "counts"),
            (*JUNE[1:], "withdrawn"),
            (JUNE[1], Decimal("0.7"), "withdrawn"),
        ]

    on(database_url, story)


@pytest.mark.parametrize("version", [MARCH_3, NEXT_YEAR])
def test_a_version_of_a_billed_tariff_counts_when_a_second_person_agrees(
    database_url: str, version: tuple[str, date, Decimal]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        for _ in range(2):  # the same files again tell nothing anew
            await told(connection, site, JANUARY, version)
        start = version[1]
        assert await rows(connection, STATES) == [
            (*JANUARY[1:], "counts"),
            (start, version[2], "waits"),
        ]
        with pytest.raises(DocumentRefused, match="same_person: document 1 was made by li"):
            await approve_version(connection, "T", start, LI, TODAY)
        done = await approve_version(connection, "T", start, WANG, TODAY)
        anew = done.priced_anew
        is_past = version is MARCH_3
        assert (anew.accounts, anew.days) == ((1, 2) if is_past else (0, 0))
        assert (await rows(connection, STATES))[1] == (start, version[2], "counts")
        marks = "SELECT account_id, from_day, cause FROM to_settle ORDER BY 1"
        expected = [(account, start, "tariff") for account in (1, 2)] if is_past else []
        assert await rows(connection, marks) == expected
        with pytest.raises(DocumentRefused, match="waits: it counts already"):
            await approve_version(connection, "T", start, WANG, TODAY)

    on(database_url, story)


def test_the_owner_of_the_file_does_not_approve_what_another_reloaded(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        site.tariffs = [JANUARY, NEXT_YEAR]
        files = replace(site.rows(), tariffs_owner="Wang")
        await archive.take_over(connection, files, noon(TODAY), actor="li")
        start = NEXT_YEAR[1]
        for said, told in ((LI, "was made by li"), (WANG, "is owned by Wang, who may have")):
            with pytest.raises(DocumentRefused, match=f"same_person: .*{told}"):
                await approve_version(connection, "T", start, said, TODAY)
        with pytest.raises(psycopg.errors.CheckViolation, match="cannot approve it"):
            await connection.execute(
                "INSERT INTO document_review (document_id, verdict, actor) "
                "VALUES (1, 'approved', 'wang')"
            )
        words = await waiting_in_words(connection, TODAY)
        assert "told by li in a file of Wang, waits" in words[0]
        await approve_version(connection, "T", start, Said("zhao", ""), TODAY)

    on(database_url, story)


def test_a_decree_that_comes_late_is_billed_when_it_is_approved(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        await told(connection, site, JANUARY, MARCH_3)
        await settle_marked(connection, ARMED, NOW)
        assert await balance(connection, "A1") == -200
        await approve_version(connection, "T", MARCH_3[1], WANG, TODAY)
        await settle_marked(connection, ARMED, NOW)
        # 3 and 4 March cost 0.30 yuan more each.
        assert [await balance(connection, it) for it in ("A1", "A2")] == [-260, -50]
        used = "SELECT effective_from, is_used FROM tariff_version ORDER BY number"
        assert await rows(connection, used) == [(JANUARY[1], True), (MARCH_3[1], True)]
        assert await intact(connection)

    on(database_url, story)


def test_a_version_whose_days_alone_were_charged_is_used(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1)
        fee = TariffVersion("T", OPEN, {TOTAL: Decimal(1)}, fixed=Fixed(daily_yuan=Decimal(2)))
        found = replace(site.rows(), tariffs=[tariff_row("T", fee)])
        await archive.take_over(connection, found, noon(OPEN))
        await connection.execute("INSERT INTO closed_day (day) VALUES (%s)", (OPEN,))
        await settle_marked(connection, ARMED, NOW)
        assert await balance(connection, "A1") == -200
        assert await rows(connection, "SELECT is_used FROM tariff_version") == [True]

    on(database_url, story)


def test_what_waits_is_told_with_what_it_prices_anew_and_how_it_is_approved(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        await told(connection, site, JANUARY, ("T", OPEN, Decimal(1)), NEXT_YEAR)
        assert await waiting_in_words(connection, TODAY, " -c s.toml") == (
            "tariff T from 2026-03-01, told by li, waits for a second person; billed days from "
            "2026-03-01 to 2026-03-04 are priced anew, 5 of 2 accounts: A1, A2: "
            "meterd tariff approve T 2026-03-01 --actor NAME -c s.toml",
            f"tariff T from {NEXT_YEAR[1]}, told by li, waits for a second person: "
            f"meterd tariff approve T {NEXT_YEAR[1]} --actor NAME -c s.toml",
        )

    on(database_url, story)


def test_a_version_that_changes_while_it_waits_waits_anew(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        other = (*NEXT_YEAR[:2], Decimal("0.95"))
        for versions in ([NEXT_YEAR], [other], [], [other]):
            await told(connection, site, JANUARY, *versions)
        found = await rows(connection, STATES)
        assert [state for *_, state in found] == ["counts", "withdrawn", "withdrawn", "waits"]
        reviews = "SELECT document_id, verdict, actor FROM document_review ORDER BY 1"
        assert await rows(connection, reviews) == [(1, "rejected", "li"), (2, "rejected", "li")]
        await approve_document(connection, 3, WANG, TODAY)

    on(database_url, story)


def test_a_version_that_counts_and_is_not_used_yet_is_replaced_by_an_approved_one(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        other = (*NEXT_YEAR[:2], Decimal("0.95"))
        for version in (NEXT_YEAR, other):
            await told(connection, site, JANUARY, version)
            await approve_version(connection, "T", NEXT_YEAR[1], WANG, TODAY)
        found = (await stored_versions(connection, {"T"}))["T"]
        assert [it.energy[TOTAL] for it in found.versions.all] == [JANUARY[2], other[2]]
        with pytest.raises(ArchiveConflict, match="counts, and use is billed by the tariff: it st"):
            await told(connection, site, JANUARY)

    on(database_url, story)


def test_a_rejected_version_is_not_told_again_by_the_same_files(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        await told(connection, site, JANUARY, NEXT_YEAR)
        await reject_version(connection, "T", NEXT_YEAR[1], WANG)
        taken = await told(connection, site, JANUARY, NEXT_YEAR)
        assert [line.split(":")[0] for line in taken.stale] == [
            f"tariff T from {NEXT_YEAR[1]} was rejected and does not count"
        ]
        with pytest.raises(DocumentRefused, match="it was rejected by wang"):
            await approve_version(connection, "T", NEXT_YEAR[1], WANG, TODAY)
        assert len(await rows(connection, STATES)) == 2

    on(database_url, story)


def test_a_version_cannot_be_approved_where_use_was_billed_by_another_one_of_its_day(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1)
        site.tariffs = [JANUARY, MARCH_3]
        found = await site.take_over(connection)
        await store(connection, *(freeze(found["P1"], OPEN + n * DAY, 100 + n) for n in range(3)))
        dearer = (*MARCH_3[:2], Decimal(2))
        await told(connection, site, JANUARY, dearer)
        await store(connection, freeze(found["P1"], OPEN + 3 * DAY, 103))
        with pytest.raises(DocumentRefused, match="version_is_used: use is billed by another"):
            await approve_version(connection, "T", MARCH_3[1], WANG, TODAY)
        await told(connection, site, JANUARY, dearer)  # who starts is not held up by it
        await filing.reject(connection, 1, WANG)
        await told(connection, site, JANUARY, dearer)
        with pytest.raises(ArchiveConflict, match="T from 2026-03-03: use is billed by it"):
            await told(connection, site, JANUARY, (*MARCH_3[:2], Decimal(3)))

    on(database_url, story)


def test_of_two_who_approve_at_once_one_does(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        await told(connection, site, JANUARY, MARCH_3)
        async with await connect(database_url) as one, await connect(database_url) as other:
            done = await asyncio.gather(
                approve_version(one, "T", MARCH_3[1], WANG, TODAY),
                approve_version(other, "T", MARCH_3[1], Said("zhao", ""), TODAY),
                return_exceptions=True,
            )
        assert [isinstance(it, DocumentRefused) for it in done].count(True) == 1
        assert await rows(connection, "SELECT verdict FROM document_review") == ["approved"]

    on(database_url, story)


def test_a_reload_beside_an_approval_withdraws_what_waits_or_finds_it_counting(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        await told(connection, site, JANUARY, NEXT_YEAR)
        async with await connect(database_url) as one, await connect(database_url) as other:
            approved, reloaded = await asyncio.gather(
                approve_version(one, "T", NEXT_YEAR[1], WANG, TODAY),
                told(other, site, JANUARY),
                return_exceptions=True,
            )
        state = (await rows(connection, STATES))[1][2]
        if state == "counts":
            assert isinstance(reloaded, ArchiveConflict)
        else:
            assert isinstance(approved, DocumentRefused)
            assert state == "withdrawn"

    on(database_url, story)


def test_what_the_files_change_beside_a_first_bill_is_priced_anew(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1)
        site.tariffs = [JANUARY]
        await site.take_over(connection)
        await connection.execute("DELETE FROM to_settle")
        await told(connection, site, JANUARY, MARCH_3)
        marks = "SELECT account_id, from_day, cause FROM to_settle"
        assert await rows(connection, marks) == [(1, MARCH_3[1], "tariff")]

    on(database_url, story)
