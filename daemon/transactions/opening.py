"""Opens accounts, and bills those whose opening freeze had been collected before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.links import END_OF_TIME, BilledPoint, billed_point
from daemon.transactions.settle import settle_points
from protocols.errors import MeterdError
from storage import archive, ledger


class TariffNotYet(MeterdError):
    """An account would be billed before its tariff has a price. The operator acts: a later day."""


@dataclass(frozen=True, slots=True)
class AccountOpening:
    """A pending account and what its agreement says; `points` are given to it besides its own."""

    account: str
    open_from: date
    agreement: str
    points: tuple[str, ...] = ()


async def open_account(
    connection: AsyncConnection[Any], opening: AccountOpening, zone: ZoneInfo, now: datetime
) -> Mapping[str, Any] | None:
    """The account, open if its opening freeze is there already. TariffNotYet; what the archive
    refuses."""
    tariff = await archive.first_version(connection, opening.account)
    if tariff is not None and opening.open_from < tariff.starts_on:
        raise TariffNotYet(f"tariff {tariff.id} starts on {tariff.starts_on}; nothing was opened")
    await archive.open_account(
        connection,
        opening.account,
        points=opening.points,
        open_from=opening.open_from,
        agreement=opening.agreement,
    )
    meters = await archive.site_meters(connection)
    billed = {meter.point_id: billed_point(meter) for meter in meters}
    await open_accounts(connection, billed, zone, now)
    return await archive.account(connection, opening.account)


async def open_accounts(
    connection: AsyncConnection[Any],
    points: Mapping[str, BilledPoint],
    zone: ZoneInfo,
    now: datetime,
) -> None:
    """Bill accounts that were opened after their opening freeze had been collected.

    The others wait for it (R41: no opening reading, no active account)."""
    async with connection.transaction():
        # Whatever day the account is opened from: its whole chain after that day is linked at once.
        waiting = await ledger.points_to_open(connection)
        await settle_points(
            connection,
            {point: (day, END_OF_TIME) for point, day in waiting.items()},
            points,
            zone,
            now,
        )
