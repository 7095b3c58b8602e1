"""An account changes its tariff from a day on (R34). Where days are billed that it changes, a
second person has to agree."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Literal

from psycopg import AsyncConnection

from config.priced_points import Billing, Registers, lacking_fees, register_check
from config.problems import did_you_mean
from daemon.transactions.documents.desk import refuse
from daemon.transactions.documents.filing import to_approve
from daemon.transactions.tariffs import stored_versions
from daemon.transactions.trial import moved_fen
from storage import documents, tariffs
from storage.chains import lock_chains
from storage.documents import Said, StoredDocument
from storage.settling import ALL_DAYS, Days, mark_accounts
from storage.tariffs import AccountOnDay

KIND: Final = "account_tariff"


@dataclass(frozen=True, slots=True)
class TariffChange:
    """From 00:00 of a day on the account is billed by another tariff."""

    account: str
    tariff: str
    from_day: date


@dataclass(frozen=True, slots=True)
class FiledChange:
    """What came of a change. `number`: None for one that was only tried.

    `was`: the tariff that it takes the place of. `billed_days`: how many it prices anew. `fen`: of
    a trial, by account how its balance would move."""

    number: int | None
    state: Literal["counts", "waits", "tried"]
    change: TariffChange
    was: str
    billed_days: int
    fen: Mapping[str, int] = field(default_factory=dict)


async def file_change(
    connection: AsyncConnection[Any],
    change: TariffChange,
    said: Said,
    now: datetime,
    *,
    is_trial: bool = False,
) -> FiledChange:
    """Write a change down; it counts at once, unless days are billed that it changes.

    The same again, while it waits, is the same document. DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        account, days = await _changed(connection, change)
        if is_trial:
            fen = await _moved(connection, change, account, now)
            return FiledChange(None, "tried", change, account.tariff, days, fen)
        for waiting in await documents.documents(connection, only_waiting=True):
            if waiting.kind == KIND and waiting.content == _content(change):
                return FiledChange(waiting.number, "waits", change, account.tariff, days)
        waits = days > 0
        number = await documents.add_document(
            connection, KIND, None, said, _content(change), waits=waits
        )
        if not waits:
            await _write(connection, change, account.account_id, number)
    return FiledChange(number, "waits" if waits else "counts", change, account.tariff, days)


async def approve_change(connection: AsyncConnection[Any], number: int, said: Said) -> FiledChange:
    """Let a change count that waits; `said.actor` is another person than who made it.

    DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        stored = await to_approve(connection, number, said)
        change = _change_of(stored)
        account, days = await _changed(connection, change)
        await documents.add_review(connection, number, "approved", said)
        await _write(connection, change, account.account_id, number)
    return FiledChange(number, "counts", change, account.tariff, days)


async def preview(
    connection: AsyncConnection[Any], stored: StoredDocument, now: datetime
) -> FiledChange:
    """What a change that waits would change if it were approved now. DocumentRefused."""
    change = _change_of(stored)
    async with connection.transaction():
        await lock_chains(connection)
        account, days = await _changed(connection, change)
        fen = await _moved(connection, change, account, now)
    return FiledChange(None, "tried", change, account.tariff, days, fen)


def _change_of(stored: StoredDocument) -> TariffChange:
    said = stored.content
    return TariffChange(said["account"], said["tariff"], date.fromisoformat(said["from"]))


def _content(change: TariffChange) -> dict[str, str]:
    return {
        "account": change.account,
        "tariff": change.tariff,
        "from": change.from_day.isoformat(),
    }


async def _changed(
    connection: AsyncConnection[Any], change: TariffChange
) -> tuple[AccountOnDay, int]:
    """The account as it is on that day, and how many billed days the change prices anew."""
    account = await tariffs.account_on(connection, change.account, change.from_day)
    if account is None:
        refuse(
            "unknown_account",
            f"there is no account {change.account}; accounts come from accounts.csv when the "
            "daemon starts or reloads",
        )
    if account.opened_on is None:
        refuse(
            "account_pending",
            f"account {change.account} was never opened: its tariff is that of accounts.csv; "
            "change it there",
        )
    if account.state in ("closing", "closed"):
        refuse("account_closed", f"account {change.account} is {account.state}; name another one")
    await _refuse_unpriced(connection, change)
    await _refuse_unfit(connection, change, account.account_id)
    if account.tariff == change.tariff:
        refuse(
            "nothing_changes",
            f"{change.account} has tariff {change.tariff} on {change.from_day} already",
        )
    days = await tariffs.billed_days(
        connection, account.account_id, change.from_day, account.until_day or ALL_DAYS.last
    )
    return account, days


async def _refuse_unpriced(connection: AsyncConnection[Any], change: TariffChange) -> None:
    starts = await tariffs.first_days(connection)
    start = starts.get(change.tariff)
    if start is None:
        refuse(
            "no_price",
            f"there is no tariff {change.tariff}{did_you_mean(change.tariff, starts)}; tariffs "
            "come from the tariffs file when the daemon starts or reloads",
        )
    if change.from_day < start:
        refuse(
            "no_price",
            f"tariff {change.tariff} has no price before {start}; change to it from that day on: "
            f"meterd account tariff {shlex.quote(change.account)} {shlex.quote(change.tariff)} "
            f"--from {start}",
        )


async def _refuse_unfit(
    connection: AsyncConnection[Any], change: TariffChange, account_id: int
) -> None:
    """A tariff has to price what the meters of the account tell, and its phases."""
    stored = await stored_versions(connection, {change.tariff})
    versions = {change.tariff: stored[change.tariff].versions}
    billing = Billing(change.tariff, change.from_day)
    check = register_check(versions)
    points = await tariffs.priced_points(connection, account_id, change.from_day)
    unfit = [
        message
        for point in points
        for _, message in check(billing, Registers(point.rates, point.residual_rate))
    ]
    phases = max((point.phases for point in points), default=1)
    lacking = lacking_fees(versions, billing, phases)
    if lacking is not None:
        unfit.append(lacking)
    if unfit:
        refuse("no_price", f"{unfit[0]}: mend the tariff, or points.csv, and reload first")


async def _write(
    connection: AsyncConnection[Any], change: TariffChange, account_id: int, number: int
) -> None:
    row = tariffs.AccountTariff(account_id, change.from_day, change.tariff)
    await tariffs.change_tariff(connection, row, number)
    await mark_accounts(connection, [account_id], _since(change), "tariff")


async def _moved(
    connection: AsyncConnection[Any], change: TariffChange, account: AccountOnDay, now: datetime
) -> Mapping[str, int]:
    """By account the fen by which balances would move; nothing of it is kept."""

    async def write() -> None:
        number = await documents.add_document(
            connection, KIND, None, Said("trial", "trial"), {}, waits=False
        )
        await _write(connection, change, account.account_id, number)

    fen = await moved_fen(connection, account.account_id, _since(change), write, now)
    return {change.account: fen} if fen else {}


def _since(change: TariffChange) -> Days:
    return Days(change.from_day, ALL_DAYS.last, frozenset({"tariff"}))
