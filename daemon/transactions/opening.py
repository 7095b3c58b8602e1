"""Opens accounts, and bills those whose opening freeze had been collected before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.quality.freeze import MEMORY_DAYS
from daemon.transactions.settle import settle_accounts
from protocols.errors import MeterdError
from storage import archive, identity
from storage.chains import act_as
from storage.settling import ALL_DAYS

LATEST: Final = timedelta(days=366)


class TariffNotYet(MeterdError):
    """An account would be billed before its tariff has a price. The operator acts: a later day."""


class DeductsByItself(MeterdError):
    """A meter of the account deducts from a balance of its own: its customer would pay twice.

    The operator acts: the meter's prepayment ends, or its point is billed there alone."""


class DayNeverComes(MeterdError):
    """The freeze of an opening day cannot come any more, or nobody can mean that day.

    The operator acts: another day."""


@dataclass(frozen=True, slots=True)
class AccountOpening:
    """A pending account and what its agreement says; `points` are given to it besides its own.

    `again`: it may be to be opened otherwise already, and this takes the place of that."""

    account: str
    open_from: date
    agreement: str
    points: tuple[str, ...] = ()
    actor: str = "daemon"
    again: bool = False


async def open_account(
    connection: AsyncConnection[Any], opening: AccountOpening, zone: ZoneInfo, now: datetime
) -> Mapping[str, Any] | None:
    """The account, open if its opening freeze is there already. DayNeverComes, TariffNotYet,
    DeductsByItself; what the archive refuses."""
    tariff = await archive.first_version(connection, opening.account)
    if tariff is not None and opening.open_from < tariff.starts_on:
        raise TariffNotYet(f"tariff {tariff.id} starts on {tariff.starts_on}; nothing was opened")
    await _refuse_day_that_never_comes(connection, opening, now.astimezone(zone).date())
    # R18: local prepayment is read, not duplicated.
    deducting = await identity.deducting(connection, opening.account, opening.points)
    if deducting:
        raise DeductsByItself(
            f"meter {', '.join(deducting)} deducts from a balance of its own; nothing was opened"
        )
    async with connection.transaction():
        await act_as(connection, opening.actor)
        opened = await archive.open_account(
            connection,
            opening.account,
            points=opening.points,
            opened_on=opening.open_from,
            agreement=opening.agreement,
            again=opening.again,
        )
        # Whatever day it is opened from: its whole chain after that day is linked at once.
        await settle_accounts(connection, {opened: ALL_DAYS}, zone, now)
    return await archive.account(connection, opening.account)


async def _refuse_day_that_never_comes(
    connection: AsyncConnection[Any], opening: AccountOpening, today: date
) -> None:
    day = opening.open_from
    if day > today + LATEST:
        raise DayNeverComes(f"{day} is more than a year away; nothing was opened")
    if day >= today - timedelta(days=MEMORY_DAYS):
        return
    if not await archive.has_freeze(connection, opening.account, opening.points, day):
        raise DayNeverComes(
            f"the freeze of {day} is not stored, and no meter remembers more than {MEMORY_DAYS} "
            "days: open the account from a later day; nothing was opened"
        )
