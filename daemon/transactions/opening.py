"""Opens accounts, and bills those whose opening freeze had been collected before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.transactions.settle import settle_accounts
from protocols.errors import MeterdError
from storage import archive, identity
from storage.settling import ALL_DAYS


class TariffNotYet(MeterdError):
    """An account would be billed before its tariff has a price. The operator acts: a later day."""


class DeductsByItself(MeterdError):
    """A meter of the account deducts from a balance of its own: its customer would pay twice.

    The operator acts: the meter's prepayment ends, or its point is billed there alone."""


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
    """The account, open if its opening freeze is there already. TariffNotYet, DeductsByItself;
    what the archive refuses."""
    tariff = await archive.first_version(connection, opening.account)
    if tariff is not None and opening.open_from < tariff.starts_on:
        raise TariffNotYet(f"tariff {tariff.id} starts on {tariff.starts_on}; nothing was opened")
    # R18: local prepayment is read, not duplicated.
    deducting = await identity.deducting(connection, opening.account, opening.points)
    if deducting:
        raise DeductsByItself(
            f"meter {', '.join(deducting)} deducts from a balance of its own; nothing was opened"
        )
    async with connection.transaction():
        opened = await archive.open_account(
            connection,
            opening.account,
            points=opening.points,
            opened_on=opening.open_from,
            agreement=opening.agreement,
        )
        # Whatever day it is opened from: its whole chain after that day is linked at once.
        await settle_accounts(connection, {opened: ALL_DAYS}, zone, now)
    return await archive.account(connection, opening.account)
