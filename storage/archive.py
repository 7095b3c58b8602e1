"""The site's meters, points, accounts and tariffs as the database knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from protocols.errors import MeterdError
from storage.sql import load

SQL = load("archive")


class ArchiveConflict(MeterdError):
    """The configuration contradicts what was already billed. Whoever edits the files acts; nothing
    was changed."""


@dataclass(frozen=True, slots=True)
class SiteMeter:
    """One meter at its point. `modulus` in the register's smallest step; `max_daily_kwh` before the
    ratio."""

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


@dataclass(frozen=True, slots=True)
class FirstVersion:
    """The day from which a tariff has a price."""

    id: str
    starts_on: date


async def take_over(
    connection: AsyncConnection[Any],
    *,
    tariffs: Sequence[tuple[Any, ...]],
    accounts: Sequence[tuple[Any, ...]],
    points: Sequence[tuple[Any, ...]],
    meters: Sequence[tuple[Any, ...]],
) -> None:
    """Bring the database to what is configured, all or nothing; rows have the columns of the staged
    tables.

    ArchiveConflict, naming every case, where that would change what was already billed."""
    conflicts: list[str] = []
    async with connection.transaction():
        for subject, rows in (
            ("tariff", tariffs),
            ("account", accounts),
            ("point", points),
            ("meter", meters),
        ):
            await connection.execute(SQL[f"stage_{subject}s"])
            await _copy(connection, f"staged_{subject}", rows)
        for tariff, start in await _all(connection, "changed_tariffs"):
            conflicts.append(
                f"tariff {tariff} from {start}: use after that day is billed; a version is immutable then"
            )
        for account, was, now, opened, opens in await _all(connection, "moved_accounts"):
            conflicts.append(
                f"account {account} is open with {was} from {opened}; configured now: {now} from {opens}"
            )
        for point, was, now, had, has in await _all(connection, "changed_points"):
            conflicts.append(
                f"point {point} is billed with ratio {was} to account {had}; configured now: ratio {now}, account {has}"
            )
        for address, point, new_address, new_point in await _all(connection, "exchanged_meters"):
            conflicts.append(
                f"meter {address} serves {point}; configured now: {new_address} at {new_point}"
            )
        for address, was, now in await _all(connection, "changed_meters"):
            conflicts.append(
                f"meter {address} was read with a register of {was}; configured now: {now}"
            )
        if conflicts:
            raise ArchiveConflict(
                "\n".join([*conflicts, "a change of these needs a document, not an edit"])
            )
        for question in (
            *("merge_tariffs", "drop_tariffs", "merge_accounts", "merge_points"),
            *("merge_meters", "install_meters", "move_installations"),
        ):
            await connection.execute(SQL[question])
        await _refuse_unpriced(connection)


async def _refuse_unpriced(connection: AsyncConnection[Any]) -> None:
    """An account that opens before its tariff has a price could never be billed."""
    unpriced = await _all(connection, "unpriced_accounts")
    if unpriced:
        raise ArchiveConflict(
            "\n".join(
                f"account {account} opens {day}, before the first version of tariff {tariff}"
                for account, day, tariff in unpriced
            )
        )


async def site_meters(
    connection: AsyncConnection[Any], lines: Sequence[str] | None = None
) -> list[SiteMeter]:
    """Every meter that serves a point, by line and address. `lines`: only those of these."""
    async with connection.cursor(row_factory=class_row(SiteMeter)) as cursor:
        return await (await cursor.execute(SQL["site_meters"], {"lines": lines})).fetchall()


async def open_account(
    connection: AsyncConnection[Any],
    account: str,
    *,
    points: Sequence[str],
    open_from: date,
    agreement: str,
) -> None:
    """Give a pending account its opening day, agreement and points. It is active when its opening
    freeze is there.

    ArchiveConflict when it is unknown or open already, or a point is unknown or another account's.
    """
    async with connection.transaction():
        values = {
            "account": account,
            "open_from": open_from,
            "agreement": agreement,
        }
        if await (await connection.execute(SQL["open_account"], values)).fetchone() is None:
            raise ArchiveConflict(
                f"account {account} is unknown or open already (see `meterd account show {account}`)"
            )
        for point in points:
            if (
                await (
                    await connection.execute(SQL["give_point"], {**values, "point": point})
                ).fetchone()
                is None
            ):
                raise ArchiveConflict(f"point {point} is unknown or another account's")
        await _refuse_unpriced(connection)


async def account(connection: AsyncConnection[Any], account: str) -> Mapping[str, Any] | None:
    """All columns of one account and its `balance_fen`."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(SQL["account"], {"account": account})).fetchone()


async def first_version(connection: AsyncConnection[Any], account: str) -> FirstVersion | None:
    """The first version of an account's tariff. None if the account or any version is unknown."""
    async with connection.cursor(row_factory=class_row(FirstVersion)) as cursor:
        return await (await cursor.execute(SQL["first_version"], {"account": account})).fetchone()


async def points_of_account(connection: AsyncConnection[Any], account: str) -> list[dict[str, Any]]:
    """Its points, each with meter address, line and the day of its last published freeze."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (
            await cursor.execute(SQL["points_of_account"], {"account": account})
        ).fetchall()


async def _copy(
    connection: AsyncConnection[Any], table: str, rows: Iterable[tuple[Any, ...]]
) -> None:
    async with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            await copy.write_row(row)


async def _all(connection: AsyncConnection[Any], question: str) -> list[tuple[Any, ...]]:
    return await (await connection.execute(SQL[question])).fetchall()
