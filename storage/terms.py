"""What accounts and their points are billed by, besides use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from storage.sql import Connection, array, days, fetch_row, fetch_rows, load

SQL = load("terms")


class BonusRow(NamedTuple):
    """So many kWh more at every bound, from the first month on that begins on `from_day` or
    later."""

    from_day: date
    kwh_per_month: Decimal


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """What is known of an account.

    `phases`: of the largest point that it has or had. `opened_on`, `last_day`: its first and last
    day in service. `bonuses`: in order of their days. `used_elsewhere`: kWh by `2026` or
    `2026-07`. `is_by_month`: what its use costs is posted when the month is over."""

    phases: int = 1
    opened_on: date | None = None
    last_day: date | None = None
    bonuses: tuple[BonusRow, ...] = ()
    used_elsewhere: Mapping[str, Decimal] = field(default_factory=dict)
    is_by_month: bool = False


class PointRegisters(NamedTuple):
    """`rates`: names of the meter's rate registers 1 to n.

    `residual_rate`: the one that is billed as the total without the others; None: each is billed by
    its own register."""

    rates: tuple[str, ...]
    residual_rate: str | None


async def terms_of(connection: Connection, accounts: Collection[int]) -> dict[int, AccountTerms]:
    """By account; those that are unknown are left out."""
    rows = await fetch_rows(connection, SQL["terms_of"], {"accounts": array(accounts)})
    return {
        account: AccountTerms(
            phases=phases,
            opened_on=opened_on,
            last_day=last_day,
            bonuses=tuple(map(BonusRow, days or (), bonuses or ())),
            used_elsewhere=dict(zip(cycles or (), used or (), strict=True)),
            is_by_month=is_by_month,
        )
        for account, phases, opened_on, last_day, days, bonuses, cycles, used, is_by_month in rows
    }


async def registers_of(
    connection: Connection, points: Collection[int]
) -> dict[int, PointRegisters]:
    """By point; those that are unknown are left out."""
    rows = await fetch_rows(connection, SQL["registers_of"], {"points": array(points)})
    return {point: PointRegisters(tuple(rates), residual) for point, rates, residual in rows}


async def closed_days(connection: Connection, since: date, until: date) -> list[date]:
    """The days of the site whose end has come, in order, both ends included."""
    values = {"since": since, "until": until}
    return [day for (day,) in await fetch_rows(connection, SQL["closed_days"], values)]


class KnownDays(NamedTuple):
    """`opening`: the first day of any account. `closed`: the first and the last closed day."""

    opening: date | None
    closed: tuple[date, date] | None


async def known_days(connection: Connection) -> KnownDays:
    """What decides which days are to be closed."""
    row = await fetch_row(connection, SQL["known_days"])
    assert row is not None, "it asks for one row"
    opening, first, last = row
    return KnownDays(opening, None if first is None else (first, last))


async def close_days(connection: Connection, due: Collection[date]) -> int:
    """Close these days; returns how many accounts are to be settled for it."""
    cursor = await connection.execute(SQL["close_days"], {"days": days(due)})
    return cursor.rowcount


async def add_bonus(
    connection: Connection,
    account_id: int,
    from_day: date,
    kwh_per_month: Decimal,
    actor: str,
    document_id: int | None = None,
) -> None:
    """Of this day this entry counts from now on. One that corrects another has a document."""
    values = {
        "account_id": account_id,
        "from_day": from_day,
        "kwh": kwh_per_month,
        "actor": actor,
        "document_id": document_id,
    }
    await connection.execute(SQL["add_bonus"], values)


async def add_used_elsewhere(
    connection: Connection,
    account_id: int,
    cycle: str,
    kwh: Decimal,
    actor: str,
    document_id: int | None = None,
) -> None:
    """Of this cycle this entry counts from now on. One that corrects another has a document."""
    values = {
        "account_id": account_id,
        "cycle": cycle,
        "kwh": kwh,
        "actor": actor,
        "document_id": document_id,
    }
    await connection.execute(SQL["add_used_elsewhere"], values)
