"""Tariffs that count, and which of them an account has from which day on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from storage.sql import Connection, fetch_records, fetch_row, fetch_rows, load

SQL = load("tariffs")


class CountingVersion(NamedTuple):
    """A version that counts. `number`: by which use refers to it. `form`: JSON. `is_used`: use was
    billed by it, so it stays as it is."""

    tariff: str
    number: int
    form: str
    is_used: bool


async def counting_versions(
    connection: Connection, tariffs: Collection[str]
) -> list[CountingVersion]:
    """The versions of these tariffs that count, by tariff in order of their start."""
    rows = await fetch_rows(connection, SQL["counting"], {"tariffs": sorted(tariffs)})
    return [CountingVersion(*row) for row in rows]


async def mark_used(connection: Connection, numbers: Collection[int]) -> None:
    """Let versions stay as they are from now on, because use is billed by them.

    SerializationFailure where one does not count any more: whoever billed by it begins anew."""
    if numbers:
        await connection.execute(SQL["mark_used"], {"numbers": sorted(numbers)})


class AccountTariff(NamedTuple):
    """An account has a tariff from 00:00 of a day on that it did not begin with."""

    account_id: int
    from_day: date
    tariff: str


@dataclass(frozen=True, slots=True)
class AccountOnDay:
    """An account and its `tariff` on a day, which it has until 00:00 of `until_day`; None: still.

    `opened_on`: None of one that was never opened, whose tariff is that of the files."""

    account_id: int
    state: str
    opened_on: date | None
    tariff: str
    until_day: date | None


async def tariff_changes(connection: Connection, accounts: Collection[int]) -> list[AccountTariff]:
    """What accounts have besides the tariff with which they began, in order of their days."""
    rows = await fetch_rows(connection, SQL["changes"], {"accounts": sorted(accounts)})
    return [AccountTariff(*row) for row in rows]


async def account_on(connection: Connection, account: str, day: date) -> AccountOnDay | None:
    """An account by its number."""
    values = {"account": account, "day": day}
    found = await fetch_records(connection, AccountOnDay, SQL["account"], values)
    return found[0] if found else None


async def first_days(connection: Connection) -> dict[str, date]:
    """Since when each tariff has a price."""
    return dict(await fetch_rows(connection, SQL["first_days"]))


async def billed_days(connection: Connection, account_id: int, from_day: date, to_day: date) -> int:
    """How many days of an account are billed, from 00:00 of a day to 00:00 of another one."""
    values = {"account_id": account_id, "from_day": from_day, "to_day": to_day}
    row = await fetch_row(connection, SQL["billed_days"], values)
    assert row is not None, "a count is a row"
    count: int = row[0]
    return count


async def change_tariff(connection: Connection, change: AccountTariff, document: int) -> None:
    """Write down from when on an account has which tariff."""
    values = {**change._asdict(), "document_id": document}
    await connection.execute(SQL["change_tariff"], values)


class PricedPoint(NamedTuple):
    """The rate registers and phases of a point, and the rate that is billed as the rest."""

    rates: tuple[str, ...]
    residual_rate: str | None
    phases: int


async def priced_points(
    connection: Connection, account_id: int, from_day: date
) -> list[PricedPoint]:
    """What points have that are billed to an account on a day or later."""
    values = {"account_id": account_id, "from_day": from_day}
    rows = await fetch_rows(connection, SQL["points"], values)
    return [PricedPoint(tuple(rates), residual, phases) for rates, residual, phases in rows]
