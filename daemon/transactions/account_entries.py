"""What a person says of an account besides its use: a household's bonus, use that others billed
(money.md 15a). Where days are billed of which an entry says something, or money moves, a second
person has to agree."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from psycopg import AsyncConnection

from daemon.billing.use import NoPrice
from daemon.transactions.documents.desk import refuse
from daemon.transactions.documents.filing import to_approve
from daemon.transactions.trial import moved_fen
from storage import documents, tariffs, terms
from storage.chains import lock_chains
from storage.documents import Said, StoredDocument
from storage.holdings import Holder, holder
from storage.settling import ALL_DAYS, Days, mark_accounts
from storage.terms import AccountTerms


@dataclass(frozen=True, slots=True)
class HouseholdBonus:
    """So many kWh more at every bound of a ladder, by month, until the next entry.

    It counts from the first month on that begins on `from_day` or later."""

    account: str
    from_day: date
    kwh: Decimal

    @property
    def kind(self) -> Literal["household_bonus"]:
        """By which it is found."""
        return "household_bonus"

    @property
    def of(self) -> str:
        """The day from which it holds, as it is typed."""
        return self.from_day.isoformat()

    def in_force(self, known: AccountTerms) -> Decimal | None:
        """What is said of the same day."""
        return dict(known.bonuses).get(self.from_day)

    def days(self, known: AccountTerms) -> tuple[date, date]:
        """From the first one of which it says something to that of the next entry."""
        later = [_first_month(it.from_day) for it in known.bonuses if it.from_day > self.from_day]
        return _first_month(self.from_day), min(later, default=ALL_DAYS.last)

    def rated_anew(self) -> Days:
        """The whole year: a ladder by year has the sum of its bonuses from its first kWh on."""
        return Days(_first_month(self.from_day).replace(month=1), ALL_DAYS.last)

    async def write(
        self, connection: AsyncConnection[Any], account_id: int, actor: str, number: int
    ) -> None:
        """Of this day this entry counts."""
        await terms.add_bonus(connection, account_id, self.from_day, self.kwh, actor, number)

    def told(self) -> str:
        """In words."""
        return f"{self.account}: bonus of {self.kwh} kWh a month from {self.from_day} on"

    def correcting(self) -> str:
        """The command that says so of a day of which something else is said."""
        account = shlex.quote(self.account)
        return f"meterd account bonus {account} {self.kwh} --from {self.from_day} --correct"


@dataclass(frozen=True, slots=True)
class UsedElsewhere:
    """kWh of a year (`2026`) or a month (`2026-07`) that others billed: there its ladder starts."""

    account: str
    cycle: str
    kwh: Decimal

    @property
    def kind(self) -> Literal["used_elsewhere"]:
        """By which it is found."""
        return "used_elsewhere"

    @property
    def of(self) -> str:
        """The cycle, as it is typed."""
        return self.cycle

    def in_force(self, known: AccountTerms) -> Decimal | None:
        """What is said of the same cycle."""
        return known.used_elsewhere.get(self.cycle)

    def days(self, known: AccountTerms) -> tuple[date, date]:
        """Those of the cycle, the last one left out."""
        year, _, month = self.cycle.partition("-")
        first = date(int(year), int(month or 1), 1)
        if not month:
            return first, first.replace(year=first.year + 1)
        return first, _first_month(first.replace(day=2))

    def rated_anew(self) -> Days:
        """The cycle; what is after it in its last month does not change."""
        first, end = self.days(AccountTerms())
        return Days(first, date.fromordinal(end.toordinal() - 1))

    async def write(
        self, connection: AsyncConnection[Any], account_id: int, actor: str, number: int
    ) -> None:
        """Of this cycle this entry counts."""
        await terms.add_used_elsewhere(connection, account_id, self.cycle, self.kwh, actor, number)

    def told(self) -> str:
        """In words."""
        return f"{self.account}: {self.kwh} kWh of {self.cycle} were billed by others"

    def correcting(self) -> str:
        """The command that says so of a cycle of which something else is said."""
        account = shlex.quote(self.account)
        return f"meterd account elsewhere {account} {self.cycle} {self.kwh} --correct"


Entry = HouseholdBonus | UsedElsewhere
KINDS: Final = ("household_bonus", "used_elsewhere")


@dataclass(frozen=True, slots=True)
class FiledEntry:
    """What came of an entry. `number`: None for one that was only tried, or is known.

    `was`: the kWh that it takes the place of. `billed_days`: how many days are billed of which it
    says something. `fen`: by which the balance would move, of a trial, or where no such day is
    billed: a bonus that is to come moves the bounds of its whole year."""

    number: int | None
    state: Literal["counts", "waits", "tried", "duplicate"]
    entry: Entry
    was: Decimal | None
    billed_days: int = 0
    fen: int = 0


async def file_entry(
    connection: AsyncConnection[Any],
    entry: Entry,
    said: Said,
    now: datetime,
    *,
    corrects: bool = False,
    is_trial: bool = False,
) -> FiledEntry:
    """Write an entry down; it counts at once, unless days are billed of which it says something, or
    the balance moves.

    The same again is a duplicate, and while it waits the same document. Another number for the same
    day or cycle counts only where it `corrects` the one that is there. DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        account, known = await _known(connection, entry)
        was = entry.in_force(known)
        if was == entry.kwh:
            return FiledEntry(None, "duplicate", entry, was)
        _refuse_conflict(entry, was, corrects=corrects)
        days = await tariffs.billed_days(connection, account.account_id, *entry.days(known))
        if is_trial:
            fen = await _moved_fen(connection, entry, account.account_id, now)
            return FiledEntry(None, "tried", entry, was, days, fen)
        fen = 0 if days else await _moved_fen(connection, entry, account.account_id, now)
        for waiting in await documents.documents(connection, only_waiting=True):
            if waiting.kind == entry.kind and waiting.content == _content(entry, was):
                return FiledEntry(waiting.number, "waits", entry, was, days, fen)
        waits = days > 0 or fen != 0
        number = await documents.add_document(
            connection, entry.kind, None, said, _content(entry, was), waits=waits
        )
        if not waits:
            await _write(connection, entry, account.account_id, said.actor, number)
    return FiledEntry(number, "waits" if waits else "counts", entry, was, days, fen)


async def approve_entry(connection: AsyncConnection[Any], number: int, said: Said) -> FiledEntry:
    """Let an entry count that waits; `said.actor` is another person than who made it.

    DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        stored = await to_approve(connection, number, said)
        entry = _entry_of(stored)
        account, known = await _known(connection, entry)
        was = entry.in_force(known)
        if _content(entry, was) != stored.content:
            refuse(
                "conflict",
                f"since document {number} was filed, {was} kWh were said of {entry.of}: meterd "
                f"document reject {number}, and say again what is right",
            )
        days = await tariffs.billed_days(connection, account.account_id, *entry.days(known))
        await documents.add_review(connection, number, "approved", said)
        await _write(connection, entry, account.account_id, f"{stored.actor}, {said.actor}", number)
    return FiledEntry(number, "counts", entry, was, days)


async def preview(
    connection: AsyncConnection[Any], stored: StoredDocument, now: datetime
) -> FiledEntry:
    """What an entry that waits would change if it were approved now. DocumentRefused."""
    entry = _entry_of(stored)
    async with connection.transaction():
        await lock_chains(connection)
        account, known = await _known(connection, entry)
        days = await tariffs.billed_days(connection, account.account_id, *entry.days(known))
        fen = await _moved_fen(connection, entry, account.account_id, now)
    return FiledEntry(None, "tried", entry, entry.in_force(known), days, fen)


def _refuse_conflict(entry: Entry, was: Decimal | None, *, corrects: bool) -> None:
    if was is not None and not corrects:
        refuse(
            "conflict",
            f"{was} kWh are said of {entry.of} already; if that was wrong: {entry.correcting()}",
        )
    if was is None and corrects:
        refuse(
            "no_entry",
            f"nothing is said of {entry.of} that could be corrected; what is said shows: "
            f"meterd account show {shlex.quote(entry.account)}",
        )


async def _known(connection: AsyncConnection[Any], entry: Entry) -> tuple[Holder, AccountTerms]:
    account = await holder(connection, entry.account)
    if account is None:
        refuse(
            "unknown_account",
            f"there is no account {entry.account}; accounts come from accounts.csv when the daemon "
            "starts or reloads",
        )
    if account.state in ("closing", "closed"):
        refuse("account_closed", f"account {entry.account} is {account.state}; name another one")
    known = await terms.terms_of(connection, [account.account_id])
    return account, known[account.account_id]


async def _write(
    connection: AsyncConnection[Any], entry: Entry, account_id: int, actor: str, number: int
) -> None:
    await entry.write(connection, account_id, actor, number)
    await mark_accounts(connection, [account_id], entry.rated_anew(), entry.kind)


async def _moved_fen(
    connection: AsyncConnection[Any], entry: Entry, account_id: int, now: datetime
) -> int:
    async def write() -> None:
        said = Said("trial", "trial")
        number = await documents.add_document(connection, entry.kind, None, said, {}, waits=False)
        await entry.write(connection, account_id, said.actor, number)

    try:
        return await moved_fen(connection, account_id, entry.rated_anew(), write, now)
    except NoPrice:
        return 0  # nothing moves until that is mended


def _content(entry: Entry, was: Decimal | None) -> dict[str, str | None]:
    """`instead_of`: what was said before, which alone it may take the place of."""
    return {
        "account": entry.account,
        "of": entry.of,
        "kwh": f"{entry.kwh:f}",
        "instead_of": None if was is None else f"{was:f}",
    }


def _entry_of(stored: StoredDocument) -> Entry:
    said = stored.content
    kwh = Decimal(said["kwh"])
    if stored.kind == "household_bonus":
        return HouseholdBonus(said["account"], date.fromisoformat(said["of"]), kwh)
    return UsedElsewhere(said["account"], said["of"], kwh)


def _first_month(day: date) -> date:
    """The first day of a month that is not before a day."""
    if day.day == 1:
        return day
    return day.replace(day=1, month=day.month + 1) if day.month < 12 else date(day.year + 1, 1, 1)
