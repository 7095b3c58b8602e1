"""The site's meters, points, accounts and tariffs as the database knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from protocols.errors import MeterdError
from storage.sql import Connection, Row, fetch_dicts, fetch_records, fetch_row, fetch_rows, load

SQL = load("archive")
CONFLICTS: Final = {
    "changed_tariffs": (
        "tariff {} from {}: use after that day is billed; a version is immutable then"
    ),
    "moved_accounts": "account {0} is open with {1} from {3}; configured now: {2} from {4}",
    "changed_points": (
        "point {0} is billed with ratio {1} to account {3}; configured now: ratio {2}, account {4}"
    ),
    "exchanged_meters": "meter {} serves {}; configured now: {} at {}",
    "changed_meters": "meter {} was read with a register of {}; configured now: {}",
}
"""Questions about what may not change, with the words for a row of their answers."""
MERGING: Final = (
    "merge_tariffs",
    "drop_tariffs",
    "merge_accounts",
    "merge_points",
    "merge_meters",
    "install_meters",
    "move_installations",
)
"""Statements that bring the tables to the staged ones, in this order: each needs those before."""


class ArchiveConflict(MeterdError):
    """The configuration contradicts what was already billed.

    Whoever edits the files acts; nothing was changed."""


@dataclass(frozen=True, slots=True)
class SiteMeter:
    """One meter at its point.

    `modulus` in the register's smallest step; `max_daily_kwh` before the ratio."""

    meter_id: int
    address: str
    line: str
    protocol: str
    modulus: int
    decimals: int
    installed_on: date
    point_id: str
    ratio: Decimal
    max_daily_kwh: Decimal
    profile: str | None = None
    identity_read_on: date | None = None
    """When it told last which meter it is, by UTC."""


@dataclass(frozen=True, slots=True)
class FirstVersion:
    """The day from which a tariff has a price."""

    id: str
    starts_on: date


async def take_over(
    connection: Connection,
    *,
    tariffs: Sequence[Row],
    accounts: Sequence[Row],
    points: Sequence[Row],
    meters: Sequence[Row],
) -> None:
    """Bring the database to what is configured, all or nothing.

    Rows have the columns of the staged tables. ArchiveConflict, naming every case, where that
    would change what was already billed."""
    staged = {
        "tariff": tariffs,
        "account": accounts,
        "point": points,
        "meter": meters,
    }
    async with connection.transaction():
        for subject, rows in staged.items():
            await connection.execute(SQL[f"stage_{subject}s"])
            await _copy(connection, f"staged_{subject}", rows)
        await _refuse_conflicts(connection)
        for question in MERGING:
            await connection.execute(SQL[question])
        await _refuse_unpriced(connection)


async def _refuse_conflicts(connection: Connection) -> None:
    """What was billed stays as it was billed: changes of it are documents (R26)."""
    conflicts: list[str] = []
    for question, template in CONFLICTS.items():
        for row in await fetch_rows(connection, SQL[question]):
            conflicts.append(template.format(*row))
    if conflicts:
        conflicts.append("a change of these needs a document, not an edit")
        raise ArchiveConflict("\n".join(conflicts))


async def _refuse_unpriced(connection: Connection) -> None:
    """An account that opens before its tariff has a price could never be billed."""
    unpriced = await fetch_rows(connection, SQL["unpriced_accounts"])
    if unpriced:
        told = (
            f"account {account} opens {day}, before the first version of tariff {tariff}"
            for account, day, tariff in unpriced
        )
        raise ArchiveConflict("\n".join(told))


async def site_meters(
    connection: Connection, lines: Sequence[str] | None = None
) -> list[SiteMeter]:
    """Every meter that serves a point, by line and address. `lines`: only those of these."""
    return await fetch_records(connection, SiteMeter, SQL["site_meters"], {"lines": lines})


async def open_account(
    connection: Connection,
    account: str,
    *,
    points: Sequence[str],
    open_from: date,
    agreement: str,
) -> None:
    """Give a pending account its opening day, agreement and points.

    It is active when its opening freeze is there. ArchiveConflict when it is unknown or open
    already, or a point is unknown or another account's."""
    values = {
        "account": account,
        "open_from": open_from,
        "agreement": agreement,
    }
    async with connection.transaction():
        if await fetch_row(connection, SQL["open_account"], values) is None:
            raise ArchiveConflict(
                f"account {account} is unknown or open already "
                f"(see `meterd account show {account}`)"
            )
        for point in points:
            if await fetch_row(connection, SQL["give_point"], {**values, "point": point}) is None:
                raise ArchiveConflict(f"point {point} is unknown or another account's")
        await _refuse_unpriced(connection)


async def account(connection: Connection, account: str) -> Mapping[str, Any] | None:
    """All columns of one account and its `balance_fen`."""
    found = await fetch_dicts(connection, SQL["account"], {"account": account})
    return found[0] if found else None


async def first_version(connection: Connection, account: str) -> FirstVersion | None:
    """The first version of an account's tariff. None if the account or any version is unknown."""
    values = {"account": account}
    found = await fetch_records(connection, FirstVersion, SQL["first_version"], values)
    return found[0] if found else None


async def points_of_account(connection: Connection, account: str) -> list[dict[str, Any]]:
    """Its points, each with meter address, line and the day of its last published freeze."""
    return await fetch_dicts(connection, SQL["points_of_account"], {"account": account})


async def _copy(connection: Connection, table: str, rows: Iterable[Row]) -> None:
    async with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            await copy.write_row(row)
