"""Versions of tariffs in the database: which count, and what of them may change."""

from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from config.tariff_version import TOTAL
from daemon.transactions.tariffs import stored_versions
from storage.tariffs import mark_used
from tests.database.small_site import Site, connect, on, rows

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
