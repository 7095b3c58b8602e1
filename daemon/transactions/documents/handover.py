"""A point is given to an account, or taken from one (R44)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from daemon.transactions.documents.desk import Desk, refuse
from daemon.transactions.supply import pass_on
from storage import holdings, ledger
from storage.settling import ALL_DAYS, Days, mark_accounts


@dataclass(frozen=True, slots=True)
class Assignment:
    """From 00:00 of a day on the point is billed to an account, and to nobody else.

    The freeze of that day is its opening register; who had the point is billed up to it."""

    point: str
    account: str
    from_day: date

    @property
    def kind(self) -> Literal["assignment"]:
        """By which it is found."""
        return "assignment"

    async def write(self, desk: Desk) -> None:
        """The dated facts that follow. DocumentRefused."""
        desk.refuse_future(self.from_day)
        desk.refuse_closed(self.from_day)
        holder = await holdings.holder(desk.connection, self.account)
        if holder is None:
            refuse(
                "unknown_account",
                f"there is no account {self.account}; accounts come from accounts.csv when the "
                "daemon starts or reloads",
            )
        if holder.state in ("closing", "closed"):
            refuse("account_closed", f"account {self.account} is {holder.state}; name another one")
        if holder.priced_from is None or self.from_day < holder.priced_from:
            refuse(
                "no_price",
                f"the tariff of {self.account} has no price before {holder.priced_from}; give the "
                "point from that day on, or add a version to the tariffs",
            )
        same = [
            it
            for it in desk.holdings
            if it.account == self.account and it.to_day is None and it.from_day <= self.from_day
        ]
        if same:
            refuse(
                "nothing_changes",
                f"{desk.point} is billed to {self.account} since {same[0].from_day} already",
            )
        # No trip of who had it is released meanwhile.
        await ledger.lock_accounts(desk.connection, {*desk.holders, holder.account_id})
        left = await holdings.end_holdings(desk.connection, desk.point_id, self.from_day)
        await holdings.add_holding(
            desk.connection, desk.point_id, holder.account_id, self.from_day, desk.number
        )
        if desk.holders != {holder.account_id}:
            # Control, reconnect: the account was transferred.
            cause = f"given to account {self.account}"
            await pass_on(desk.connection, desk.point_id, holder.account_id, cause)
        touched = left | {holder.account_id}
        await mark_accounts(desk.connection, touched, _from(self.from_day), "assignment")


@dataclass(frozen=True, slots=True)
class Release:
    """From 00:00 of a day on nobody is billed for the point.

    The freeze of that day is the last register of who had it."""

    point: str
    on_day: date

    @property
    def kind(self) -> Literal["release"]:
        """By which it is found."""
        return "release"

    async def write(self, desk: Desk) -> None:
        """The dated facts that follow. DocumentRefused."""
        desk.refuse_future(self.on_day)
        desk.refuse_closed(self.on_day)
        await ledger.lock_accounts(desk.connection, desk.holders)
        left = await holdings.end_holdings(desk.connection, desk.point_id, self.on_day)
        if not left:
            refuse(
                "nothing_changes",
                f"{desk.point} is billed to nobody on {self.on_day} or later",
            )
        await mark_accounts(desk.connection, left, _from(self.on_day), "release")


def _from(day: date) -> Days:
    return Days(day, ALL_DAYS.last)
