"""What is said of an account besides its use: a household's bonus, use that others billed."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any, Final

import pytest
from psycopg import AsyncConnection

from config.tariff_version import Ladder, TariffVersion
from daemon.transactions.account_entries import (
    Entry,
    FiledEntry,
    HouseholdBonus,
    UsedElsewhere,
    approve_entry,
    file_entry,
)
from daemon.transactions.archive import tariff_row
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.documents.filing import reject
from storage import archive
from storage.documents import Said
from storage.owner import claim
from storage.terms import AccountTerms, BonusRow, terms_of
from tests.database.small_site import (
    DAY,
    NOW,
    OPEN,
    TODAY,
    ZONE,
    Site,
    balance,
    everything,
    freeze,
    meters,
    noon,
    on,
    rows,
    store,
)

LI = Said("li", "five children", "hukou 17")
WANG = Said("wang", "seen")
BONUS = HouseholdBonus("A1", OPEN, Decimal(100))
ELSEWHERE = UsedElsewhere("A1", "2026", Decimal("812.5"))
ALL_YEAR_ON: Final = (date(2026, 1, 1), date(9999, 12, 31))
MARKS = "SELECT account_id, from_day, to_day, cause FROM to_settle"


async def site(connection: AsyncConnection[Any], billed_days: int = 0) -> None:
    """A1 with so many billed days since its opening, and nothing to be settled."""
    found = await Site.of(2).take_over(connection)
    await store(
        connection,
        *(freeze(found["P1"], OPEN + n * DAY, 100 + 2 * n) for n in range(billed_days + 1)),
    )
    await connection.execute("DELETE FROM to_settle")


async def filed(
    connection: AsyncConnection[Any], entry: Entry, said: Said = LI, **how: bool
) -> FiledEntry:
    return await file_entry(connection, entry, said, NOW, **how)


async def known(connection: AsyncConnection[Any]) -> AccountTerms:
    return (await terms_of(connection, [1]))[1]


@pytest.mark.parametrize("entry", [BONUS, ELSEWHERE])
def test_an_entry_counts_at_once_where_no_day_is_billed(database_url: str, entry: Entry) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection)
        done = await filed(connection, entry)
        assert (done.number, done.state, done.was, done.billed_days) == (1, "counts", None, 0)
        assert entry.in_force(await known(connection)) == entry.kwh
        until = ALL_YEAR_ON[1] if entry is BONUS else date(2026, 12, 31)
        assert await rows(connection, MARKS) == [(1, ALL_YEAR_ON[0], until, entry.kind)]
        who = f"SELECT actor, document_id FROM {entry.kind}"
        assert await rows(connection, who) == [("li", 1)]

    on(database_url, story)


@pytest.mark.parametrize("entry", [BONUS, ELSEWHERE])
def test_the_same_entry_again_is_a_duplicate(database_url: str, entry: Entry) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection)
        await filed(connection, entry)
        done = await filed(connection, entry, WANG)
        assert (done.number, done.state) == (None, "duplicate")
        assert len(await rows(connection, f"SELECT FROM {entry.kind}")) == 1
        assert len(await rows(connection, "SELECT FROM document")) == 1

    on(database_url, story)


@pytest.mark.parametrize(
    ("entry", "other", "command"),
    [
        (
            BONUS,
            HouseholdBonus("A1", OPEN, Decimal(90)),
            "meterd account bonus A1 90 --from 2026-03-01 --correct",
        ),
        (
            ELSEWHERE,
            UsedElsewhere("A1", "2026", Decimal(0)),
            "meterd account elsewhere A1 2026 0 --correct",
        ),
    ],
)
def test_another_number_is_a_conflict_and_the_refusal_names_what_corrects_it(
    database_url: str, entry: Entry, other: Entry, command: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection)
        await filed(connection, entry)
        with pytest.raises(DocumentRefused, match=f"conflict: .*{command}$"):
            await filed(connection, other)
        assert entry.in_force(await known(connection)) == entry.kwh
        done = await filed(connection, other, corrects=True)
        assert (done.state, done.was) == ("counts", entry.kwh)
        assert other.in_force(await known(connection)) == other.kwh
        assert len(await rows(connection, f"SELECT FROM {entry.kind}")) == 2

    on(database_url, story)


def test_a_bonus_that_is_to_come_waits_where_it_moves_the_bounds_of_days_that_are_billed(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        steps = (Decimal("0.5"), Decimal(1))
        ladder = Ladder("year", "price", (Decimal(2),), steps)
        by_year = TariffVersion("T@2026-01-01", date(2026, 1, 1), {}, ladder)
        site = Site.of()
        told = replace(site.rows(), tariffs=[tariff_row("T", by_year)])
        await claim(connection, "test", ZONE)
        await archive.take_over(connection, told, noon(TODAY))
        meter = (await meters(connection))["P1"]
        for day in range(3):
            await store(connection, freeze(meter, OPEN + day * DAY, 100 + 2 * day))
        await store(connection, freeze(meter, OPEN + 3 * DAY, 106))
        was_fen = await balance(connection, "A1")
        december = HouseholdBonus("A1", date(2026, 12, 1), Decimal(1))
        done = await filed(connection, december)
        assert (done.state, done.billed_days, done.fen) == ("waits", 0, 50)
        assert await filed(connection, december) == done
        assert await balance(connection, "A1") == was_fen
        next_year = HouseholdBonus("A1", date(2027, 1, 1), Decimal(1))
        assert (await filed(connection, next_year)).state == "counts"

    on(database_url, story)


@pytest.mark.parametrize("entry", [BONUS, ELSEWHERE])
def test_what_says_something_of_billed_days_waits_for_a_second_person(
    database_url: str, entry: Entry
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=3)
        done = await filed(connection, entry)
        assert (done.number, done.state, done.billed_days) == (1, "waits", 3)
        # From somebody who got no answer.
        assert await filed(connection, entry) == done
        assert entry.in_force(await known(connection)) is None
        assert await rows(connection, MARKS) == []
        with pytest.raises(DocumentRefused, match="same_person"):
            await approve_entry(connection, 1, Said("Li", ""))
        assert (await approve_entry(connection, 1, WANG)).state == "counts"
        assert entry.in_force(await known(connection)) == entry.kwh
        assert [mark[0] for mark in await rows(connection, MARKS)] == [1]
        assert await rows(connection, f"SELECT actor FROM {entry.kind}") == ["li, wang"]

    on(database_url, story)


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        # The bonus of a month is that of its first day.
        (HouseholdBonus("A1", OPEN + DAY, Decimal(100)), "counts"),
        (HouseholdBonus("A1", OPEN - DAY, Decimal(100)), "waits"),
        (HouseholdBonus("A1", date(2025, 12, 2), Decimal(100)), "waits"),
        (UsedElsewhere("A1", "2026-03", Decimal(7)), "waits"),
        (UsedElsewhere("A1", "2026-02", Decimal(7)), "counts"),
        (UsedElsewhere("A1", "2026-04", Decimal(7)), "counts"),
        (UsedElsewhere("A1", "2025", Decimal(7)), "counts"),
        (UsedElsewhere("A2", "2026-03", Decimal(7)), "counts"),
    ],
)
def test_only_days_of_which_it_says_something_make_it_wait(
    database_url: str, entry: Entry, state: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=3)
        assert (await filed(connection, entry)).state == state

    on(database_url, story)


def test_a_bonus_says_nothing_of_the_months_of_the_next_one(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection)
        await filed(connection, BONUS)
        meter = (await Site.of(2).take_over(connection))["P1"]
        await store(connection, *(freeze(meter, OPEN + n * DAY, 100 + n) for n in range(3)))
        earlier = HouseholdBonus("A1", date(2026, 1, 1), Decimal(50))
        done = await filed(connection, earlier)
        assert (done.state, done.billed_days) == ("counts", 0)
        assert (await known(connection)).bonuses == (
            BonusRow(date(2026, 1, 1), Decimal(50)),
            BonusRow(OPEN, Decimal(100)),
        )

    on(database_url, story)


def test_what_was_filed_before_another_entry_counted_is_not_approved(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=1)
        for kwh in (100, 90):
            await filed(connection, HouseholdBonus("A1", OPEN, Decimal(kwh)))
        await approve_entry(connection, 1, WANG)
        with pytest.raises(DocumentRefused, match=r"conflict: .* 100 kWh .* document reject 2"):
            await approve_entry(connection, 2, WANG)
        await reject(connection, 2, WANG)
        assert (await known(connection)).bonuses == (BonusRow(OPEN, Decimal(100)),)

    on(database_url, story)


@pytest.mark.parametrize("entry", [BONUS, ELSEWHERE])
def test_what_a_trial_would_do_is_not_done(database_url: str, entry: Entry) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, billed_days=2)
        before = await everything(connection)
        done = await filed(connection, entry, is_trial=True)
        assert (done.number, done.state, done.billed_days) == (None, "tried", 2)
        assert await everything(connection) == before
        assert await rows(connection, f"SELECT FROM {entry.kind}") == []
        assert await rows(connection, "SELECT FROM document") == []
        assert await rows(connection, MARKS) == []

    on(database_url, story)


def test_what_cannot_be_is_refused_with_the_way_out(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection)
        with pytest.raises(DocumentRefused, match="unknown_account: there is no account A9"):
            await filed(connection, HouseholdBonus("A9", OPEN, Decimal(1)))
        with pytest.raises(DocumentRefused, match=r"no_entry: .* of 2026 .* account show A1"):
            await filed(connection, ELSEWHERE, corrects=True)
        await connection.execute("UPDATE account SET state = 'closed' WHERE number = 'A1'")
        with pytest.raises(DocumentRefused, match="account_closed"):
            await filed(connection, BONUS)

    on(database_url, story)
