"""What is unusual about points: found, kept, and over again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from storage.doubts import Wanted
from storage.sql import Connection, fetch_records, fetch_rows, load

SQL = load("findings")


class Months(NamedTuple):
    """A whole month and the same one a year before, each from its first day to the next month's."""

    month: date
    month_end: date
    last_year: date
    last_year_end: date

    @classmethod
    def before(cls, day: date) -> Months:
        """The last whole month before a day."""
        end = day.replace(day=1)
        first = (end - timedelta(days=1)).replace(day=1)
        return cls(first, end, first.replace(year=first.year - 1), end.replace(year=end.year - 1))


@dataclass(frozen=True, slots=True)
class UsedRow:
    """The uses of a point in order of days, kWh with the ratio; and of two months."""

    point_id: int
    from_days: Sequence[date] | None
    to_days: Sequence[date] | None
    kwhs: Sequence[Decimal] | None
    month_kwh: Decimal | None
    month_days: int
    last_year_kwh: Decimal | None
    last_year_days: int


class Soft(NamedTuple):
    """A finding that withholds nothing, and since which day."""

    point: str
    account: str | None
    code: str
    day: date


async def points_behind(connection: Connection, point_id: int, most: int) -> list[int]:
    """The next points that are served."""
    values = {"behind": point_id, "most": most}
    return [row[0] for row in await fetch_rows(connection, SQL["points"], values)]


async def uses(
    connection: Connection, points: Collection[int], since: date, months: Months
) -> list[UsedRow]:
    """What points used; one without use is not in it."""
    values = {"points": list(points), "since": since, **months._asdict()}
    return await fetch_records(connection, UsedRow, SQL["uses"], values)


async def active(connection: Connection, wanted: Wanted, codes: Collection[str]) -> list[Soft]:
    """What is so of points now, of these codes."""
    values = {**wanted._asdict(), "codes": sorted(codes)}
    return [Soft(*row) for row in await fetch_rows(connection, SQL["active"], values)]
