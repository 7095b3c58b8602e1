"""Registers of links come back as they were put in, whatever they are."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pytest
from psycopg import AsyncConnection

from storage import links
from storage.binary import SINCE
from storage.links import LinkRow
from storage.many_accounts import LinkColumns, add_links
from tests.database.small_site import on, rows

DAY: Final = date(2026, 3, 1)
MODULUS: Final = 100_000_000
HUGE: Final = 10**15
REGISTERS: Final = {
    "a total alone": ([125], [130]),
    "time of use": ([1000, 200, 300, 400, 100], [1010, 201, 302, 403, 104]),
    "a rate less": ([1000, 200, 300, 400], [1010, 201, 302, 403]),
    "nothing used": ([7, 0], [7, 0]),
    "over the top": ([MODULUS - 1, 5], [3, 6]),
    "more than four rates": ([10, 1, 2, 3, 4, 5], [16, 2, 3, 4, 5, 6]),
    "rates that came later": ([10], [12, 1, 1]),
    "rates that went": ([10, 4, 6], [12]),
    "below what may be": ([-3], [4]),
    "above what may be": ([MODULUS + 5], [4]),
    "as much as an integer holds": ([0, 5], [2**31 - 1, 6]),
    "a step more": ([0, 5], [2**31, 6]),
    "one of them": ([0, 5], [1, 2**40]),
    "huge": ([HUGE, HUGE], [HUGE + 1, HUGE + 2]),
}


@pytest.mark.parametrize("modulus", [0, MODULUS, 2**62])
def test_registers_of_links_are_what_they_were(database_url: str, modulus: int) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        put = [
            LinkRow(
                point, 1, DAY, DAY + timedelta(days=1), 1, *told, modulus, 2, Decimal(1), None, None
            )
            for point, told in enumerate(REGISTERS.values(), 1)
        ]
        await links.put_in(connection, put)
        await add_links(connection, [by_columns(link) for link in put])
        spans = [(point, DAY, DAY + timedelta(days=1)) for point in range(1, 200)]
        found = await links.in_force(connection, spans)
        assert [link._replace(billed_by=None) for link in found] == [
            *put,
            *(link._replace(point_id=link.point_id + 100) for link in put),
        ]
        kwh = await rows(connection, "SELECT link_kwh(l) FROM link l ORDER BY point_id")
        assert kwh == 2 * [used(*told, modulus) for told in REGISTERS.values()]

    on(database_url, story)


def test_only_where_use_does_not_say_it_a_begin_is_kept(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        put = [
            LinkRow(
                point, 1, DAY, DAY + timedelta(days=1), 1, *told, MODULUS, 2, Decimal(1), None, None
            )
            for point, told in enumerate(REGISTERS.values(), 1)
        ]
        await add_links(connection, [by_columns(link) for link in put])
        query = "SELECT point_id - 100 FROM link WHERE told_begins IS NOT NULL ORDER BY 1"
        names = [*REGISTERS]
        assert [names[point - 1] for point in await rows(connection, query)] == [
            "more than four rates",
            "rates that came later",
            "rates that went",
            "below what may be",
            "above what may be",
            "a step more",
            "one of them",
        ]
        await connection.execute("DELETE FROM link")
        kept = await rows(
            connection, "SELECT to_jsonb(p) - 'left_at' FROM past_link p ORDER BY point_id"
        )
        assert len(kept) == len(put)
        assert kept[0]["end_total"] == 130, json.dumps(kept[0])

    on(database_url, story)


def by_columns(link: LinkRow) -> tuple[LinkColumns, Any]:
    """The same of another point, as settlement by columns puts it in."""
    one = np.array([link.account_id])
    day = np.array([(DAY - SINCE).days])
    columns = LinkColumns(
        link.modulus,
        link.decimals,
        link.ratio,
        link.hold,
        one,
        np.array([link.point_id + 100]),
        np.array([link.meter_id]),
        day,
        day + 1,
        np.array([link.begins]),
        np.array([link.ends]),
    )
    return columns, np.array([link.point_id % 2])


def used(begins: Sequence[int], ends: Sequence[int], modulus: int) -> Decimal:
    steps = ends[0] - begins[0]
    return Decimal(steps + (modulus if steps < 0 else 0)) / 100
