"""Rehearsal of a tariff: which versions would count, and who would pay more or less. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final, NamedTuple

from config.tariff_version import TariffVersion, Versions
from daemon.billing.settlement import Book, Moved
from daemon.billing.stored_tariff import StoredTariff

DAY: Final = timedelta(days=1)
MOST_NAMED: Final = 10
"""Accounts that are named of those that gain and of those that lose."""
QUANTILES: Final = (0, 5, 25, 50, 75, 95, 100)
"""In percent of the accounts."""


class Tried(NamedTuple):
    """A tariff as if what a file tells counted. `starts`: of its versions that do not count yet."""

    tariff: StoredTariff
    starts: Sequence[date]


def as_told(
    counting: StoredTariff, told: Versions, since: date | None, numbers: Iterator[int]
) -> Tried:
    """What counts, with the versions of a file in it; where a day has one of both, that of the
    file.

    `since`: as if the last version of the file, and nothing later, counted from this day on.
    `numbers`: for versions that the database does not know."""
    known = [*zip(counting.versions.all, counting.numbers, strict=True)]
    if since is not None:
        new = [replace(told.all[-1], effective_from=since)]
        stays = [it for it in known if it[0].effective_from < since]
    else:
        new = [it for it in told.all if not any(_is_same(it, other) for other, _ in known)]
        starts = {it.effective_from for it in new}
        stays = [it for it in known if it[0].effective_from not in starts]
    numbered = stays + [(it, next(numbers)) for it in new]
    numbered.sort(key=lambda it: it[0].effective_from)
    versions = Versions(tuple(it for it, _ in numbered))
    return Tried(
        StoredTariff(versions, tuple(number for _, number in numbered)),
        [it.effective_from for it in new],
    )


def first_month(today: date, months: int) -> date:
    """The first day of the first of so many months, the last of which is that of today."""
    month = today.replace(day=1)
    for _ in range(months - 1):
        month = (month - DAY).replace(day=1)
    return month


class Paid(NamedTuple):
    """What is charged, and what would be, in fen."""

    was_fen: int = 0
    would_fen: int = 0

    @property
    def more_fen(self) -> int:
        """How much more would be paid; negative: less."""
        return self.would_fen - self.was_fen

    def plus(self, other: Paid) -> Paid:
        """The sum of both."""
        return Paid(self.was_fen + other.was_fen, self.would_fen + other.would_fen)


Bill = dict[date, Paid]
"""By month."""


def bill(present: tuple[Book, Moved], new: tuple[Book, Moved], since: date) -> Bill:
    """What an account pays from a month on: what was posted, and what settling would move then."""
    was = _due_fen(*present)
    would = _due_fen(*new)
    months = sorted(month for month in was.keys() | would.keys() if month >= since)
    return {month: Paid(was.get(month, 0), would.get(month, 0)) for month in months}


@dataclass(slots=True)
class Summary:
    """The bills of many accounts. `accounts`: what each pays in all; `months`: all in a month."""

    accounts: dict[str, Paid] = field(default_factory=dict)
    months: dict[date, Paid] = field(default_factory=dict)

    def add(self, account: str, told: Bill) -> None:
        """Count an account in."""
        for month, paid in told.items():
            self.months[month] = self.months.get(month, Paid()).plus(paid)
        self.accounts[account] = total(told.values())

    @property
    def paid(self) -> Paid:
        """All in all."""
        return total(self.accounts.values())

    @property
    def paying_more(self) -> int:
        """So many accounts pay more."""
        return sum(it.more_fen > 0 for it in self.accounts.values())

    @property
    def paying_less(self) -> int:
        """So many accounts pay less."""
        return sum(it.more_fen < 0 for it in self.accounts.values())

    def quantiles(self) -> dict[int, int]:
        """Fen more by percent of the accounts that are no worse off: the nearest rank."""
        found = sorted(it.more_fen for it in self.accounts.values())
        if not found:
            return {}
        ranks = {percent: -(-percent * len(found) // 100) for percent in QUANTILES}
        return {percent: found[max(0, rank - 1)] for percent, rank in ranks.items()}

    def most_affected(self) -> list[tuple[str, Paid]]:
        """Those that pay most more, and those that pay most less, in that order."""
        in_order = sorted(self.accounts.items(), key=lambda it: (-it[1].more_fen, it[0]))
        more = [it for it in in_order[:MOST_NAMED] if it[1].more_fen > 0]
        less = [it for it in in_order[-MOST_NAMED:] if it[1].more_fen < 0]
        return more + less


def total(paid: Iterable[Paid]) -> Paid:
    """The sum."""
    result = Paid()
    for it in paid:
        result = result.plus(it)
    return result


def _is_same(one: TariffVersion, other: TariffVersion) -> bool:
    """Whether both charge the same from the same day on; what they are called does not matter."""
    return replace(one, version_id=other.version_id) == other


def _due_fen(book: Book, moved: Moved) -> Mapping[date, int]:
    due: defaultdict[date, int] = defaultdict(int)
    for month, kept in book.months.items():
        due[month] += sum(kept.posted_fen.values())
    for stream, fen in moved.items():
        due[stream.period] += fen
    return due
