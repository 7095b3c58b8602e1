"""What accounts and points are billed by besides use, as the database keeps it."""

from datetime import date
from decimal import Decimal
from typing import Any, Final

import psycopg
import pytest
from psycopg import AsyncConnection

from storage.terms import (
    AccountTerms,
    BonusRow,
    PointRegisters,
    closed_days,
    registers_of,
    terms_of,
)
from tests.database.small_site import OPEN, Site, on, rows

BONUS: Final = (
    "INSERT INTO household_bonus (account_id, from_day, rev, kwh_per_month, actor, document_id) "
)
ELSEWHERE: Final = "INSERT INTO used_elsewhere (account_id, cycle, rev, kwh, actor, document_id) "
DOCUMENT: Final = (
    "INSERT INTO document (id, kind, actor, reason, waits, content) "
    "VALUES (1, 'household_bonus', 'li', 'mistyped', false, '{}')"
)


async def ids(connection: AsyncConnection[Any], table: str) -> dict[str, int]:
    return dict(await rows(connection, f"SELECT number, id FROM {table}"))


async def refused(
    connection: AsyncConnection[Any], error: type[psycopg.Error], statement: str, *values: Any
) -> None:
    with pytest.raises(error):
        await connection.execute(statement.encode(), values)


def test_an_account_of_which_nothing_is_said_has_one_phase_and_its_opening_day(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        accounts = await ids(connection, "account")
        found = await terms_of(connection, [accounts["A1"], 999])
        assert found == {accounts["A1"]: AccountTerms(opened_on=OPEN)}

    on(database_url, story)


def test_of_each_day_and_cycle_the_last_entry_counts(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        accounts = await ids(connection, "account")
        first, second = accounts["A1"], accounts["A2"]
        await connection.execute(DOCUMENT)
        await connection.execute(
            BONUS + "VALUES (%s, '2026-09-10', 0, 100, 'li', NULL), (%s, '2026-03-01', 0, 40.5, "
            "'li', NULL), (%s, '2026-09-10', 1, 90, 'li', 1), (%s, '2026-03-01', 0, 7, 'li', NULL)",
            (first, first, first, second),
        )
        await connection.execute(
            ELSEWHERE + "VALUES (%s, '2026', 0, 1200.25, 'li', NULL), (%s, '2026', 1, 1100, 'li', "
            "1), (%s, '2026-03', 0, 95, 'li', NULL)",
            (first, first, first),
        )
        found = await terms_of(connection, accounts.values())
        assert found[first] == AccountTerms(
            opened_on=OPEN,
            bonuses=(
                BonusRow(date(2026, 3, 1), Decimal("40.5")),
                BonusRow(date(2026, 9, 10), Decimal(90)),
            ),
            used_elsewhere={"2026": Decimal(1100), "2026-03": Decimal(95)},
        )
        assert found[second].bonuses == (BonusRow(date(2026, 3, 1), Decimal(7)),)
        assert found[second].used_elsewhere == {}

    on(database_url, story)


def test_an_account_has_the_phases_of_the_largest_point_that_it_really_had(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(4).take_over(connection)
        accounts = await ids(connection, "account")
        points = await ids(connection, "point")
        await connection.execute("UPDATE point SET phases = 3 WHERE number IN ('P2', 'P3')")
        # P3 was never billed to A3: it was put down to it by mistake.
        await connection.execute(
            "UPDATE point_account SET to_day = from_day WHERE point_id = %s", (points["P3"],)
        )
        await connection.execute(
            "UPDATE point_account SET to_day = '2026-05-01' WHERE point_id = %s", (points["P2"],)
        )
        await connection.execute(
            "INSERT INTO point_account (point_id, account_id, from_day) VALUES (%s, %s, "
            "'2026-05-01')",
            (points["P2"], accounts["A1"]),
        )
        found = await terms_of(connection, accounts.values())
        phases = {number: found[account].phases for number, account in accounts.items()}
        assert phases == {"A1": 3, "A2": 3, "A3": 1, "A4": 1}

    on(database_url, story)


def test_the_last_day_is_told_and_kept_in_the_journal(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        (account,) = (await ids(connection, "account")).values()
        for last in (date(2026, 3, 1), date(2026, 7, 31)):
            await connection.execute("UPDATE account SET last_day = %s", (last,))
        assert (await terms_of(connection, [account]))[account].last_day == date(2026, 7, 31)
        journal = await rows(connection, "SELECT last_day FROM account_journal ORDER BY changed_at")
        assert journal == [None, date(2026, 3, 1)]

    on(database_url, story)


@pytest.mark.parametrize("opened_on", [date(2026, 3, 2), None])
def test_no_account_ends_before_it_began(database_url: str, opened_on: date | None) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, opened_on=opened_on).take_over(connection)
        update = "UPDATE account SET last_day = '2026-03-01'"
        await refused(connection, psycopg.errors.CheckViolation, update)

    on(database_url, story)


def test_what_is_no_entry_of_an_account_is_refused(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        (account,) = (await ids(connection, "account")).values()
        wrong = psycopg.errors.CheckViolation
        for kwh in ("-1", "NaN", "1000001", "0.123456789"):
            row = "VALUES (%s, '2026-03-01', 0, %s::numeric, 'li', NULL)"
            await refused(connection, wrong, BONUS + row, account, kwh)
        for cycle in ("26", "2026-13", "2026-00", "2026-7", "1999", "2026\n"):
            row = "VALUES (%s, %s, 0, 1, 'li', NULL)"
            await refused(connection, wrong, ELSEWHERE + row, account, cycle)
        await refused(
            connection, wrong, ELSEWHERE + "VALUES (%s, '2026', 0, -1, 'li', NULL)", account
        )
        for entry in (BONUS, ELSEWHERE):
            of = "'2026-03-01'" if entry is BONUS else "'2026'"
            row = f"VALUES (%s, {of}, 1, 1, 'li', NULL)"
            await refused(connection, wrong, entry + row, account)

    on(database_url, story)


@pytest.mark.parametrize("table", ["household_bonus", "used_elsewhere", "closed_day"])
def test_what_was_said_is_never_changed(owner_url: str, table: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        (account,) = (await ids(connection, "account")).values()
        await connection.execute(BONUS + "VALUES (%s, '2026-03-01', 0, 1, 'li', NULL)", (account,))
        await connection.execute(ELSEWHERE + "VALUES (%s, '2026', 0, 1, 'li', NULL)", (account,))
        await connection.execute("INSERT INTO closed_day (day) VALUES ('2026-03-01')")
        column = {"household_bonus": "rev", "used_elsewhere": "rev", "closed_day": "day"}[table]
        wrong = psycopg.errors.IntegrityConstraintViolation
        await refused(connection, wrong, f"UPDATE {table} SET {column} = {column}")
        await refused(connection, wrong, f"DELETE FROM {table}")

    on(owner_url, story)


def test_points_have_the_four_rates_of_a_meter_and_no_residual_rate_unless_told(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        points = await ids(connection, "point")
        await connection.execute(
            "UPDATE point SET rates = '{peak,flat,valley}', residual_rate = 'flat' "
            "WHERE number = 'P2'"
        )
        assert await registers_of(connection, [*points.values(), 999]) == {
            points["P1"]: PointRegisters(("sharp", "peak", "flat", "valley"), None),
            points["P2"]: PointRegisters(("peak", "flat", "valley"), "flat"),
        }

    on(database_url, story)


@pytest.mark.parametrize(
    "change",
    [
        "rates = '{}'",
        "rates = '{peak,peak}'",
        "rates = '{peak,NULL}'",
        "rates = '{peak,total}'",
        "rates = '{peak,\"\"}'",
        "rates = array_fill('x'::text, ARRAY[64])",
        "residual_rate = 'normal'",
        "phases = 2",
    ],
)
def test_what_no_meter_has_is_refused(database_url: str, change: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await refused(connection, psycopg.errors.CheckViolation, f"UPDATE point SET {change}")

    on(database_url, story)


def test_closed_days_are_told_in_order_with_both_ends(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        days = [date(2026, 3, number) for number in range(1, 6)]
        for day in reversed(days):
            await connection.execute("INSERT INTO closed_day (day) VALUES (%s)", (day,))
        assert await closed_days(connection, days[1], days[3]) == days[1:4]
        assert await closed_days(connection, date(2026, 4, 1), date(2026, 4, 30)) == []

    on(database_url, story)
