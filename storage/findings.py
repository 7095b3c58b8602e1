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


@dataclass(frozen=True, slots=True)
class RatesRow:
    """What the rates of a point showed on three days, in the register's smallest step."""

    point_id: int
    modulus: int
    ends: Sequence[int]
    begins: Sequence[int]
    earlier: Sequence[int]


@dataclass(frozen=True, slots=True)
class SettledRow:
    """A month-end freeze of the meter that serves a point, in the register's smallest step.

    `same`: the published value of that day; without one those `before` and `behind` it."""

    point_id: int
    point: str
    decimals: int
    modulus: int
    day: date
    total: int
    same: int | None
    before: int | None
    behind: int | None


@dataclass(frozen=True, slots=True)
class SettingsRow:
    """The ratio and the number of rates that a point is billed with, and what its meter tells.

    `told_ratio` and `told_rates` are None where it tells none, `rates` where nobody is billed by
    other rates than it tells."""

    point_id: int
    point: str
    address: str
    told_ratio: int | None
    ratio: Decimal
    told_rates: int | None
    rates: int | None


@dataclass(frozen=True, slots=True)
class EqualRow:
    """A point whose meter showed the same totals as another's; steps, in order of days."""

    point_id: int
    point: str
    address: str
    decimals: int
    totals: Sequence[int]


class Soft(NamedTuple):
    """A finding that withholds nothing, since which day, and what settles it if that is known."""

    point: str
    account: str | None
    code: str
    day: date
    command: str | None = None


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


async def rates(
    connection: Connection, points: Collection[int], day: date, begin: date, since: date
) -> list[RatesRow]:
    """What rates showed on `day`, on `begin` before it and on `since` before that.

    Points of which one is not published, or that had another meter then, are not in it."""
    values = {"points": list(points), "day": day, "begin": begin, "since": since}
    return await fetch_records(connection, RatesRow, SQL["rates"], values)


async def settled(connection: Connection, points: Collection[int]) -> list[SettledRow]:
    """The newest month-end freeze of each of these points that has one."""
    return await fetch_records(connection, SettledRow, SQL["settled"], {"points": list(points)})


async def settings(connection: Connection, points: Collection[int], day: date) -> list[SettingsRow]:
    """What counts on `day` of points whose meters are set otherwise, or of which that was said."""
    values = {"points": list(points), "day": day}
    return await fetch_records(connection, SettingsRow, SQL["settings"], values)


async def equal(connection: Connection, day: date, least: int) -> list[EqualRow]:
    """Points whose total was the same as another's on `day` and the two before, from `least` on."""
    return await fetch_records(connection, EqualRow, SQL["equal"], {"day": day, "least": least})


async def told_equal(connection: Connection) -> set[int]:
    """The points of which it was told last that their registers are another's too."""
    return {point_id for (point_id,) in await fetch_rows(connection, SQL["told_equal"])}


async def active(connection: Connection, wanted: Wanted, codes: Collection[str]) -> list[Soft]:
    """What is so of points now, of these codes."""
    values = {**wanted._asdict(), "codes": sorted(codes)}
    return [Soft(*row) for row in await fetch_rows(connection, SQL["active"], values)]
