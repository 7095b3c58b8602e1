"""Settlement: from what is kept of accounts to what is to be posted. Pure.

Cumulative-difference rounding (R36): of each stream R(X) is posted, less what was posted before.
X is a function of use, closed days and terms (`pricing`), so what is posted does not depend on the
order in which readings came."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

from config.tariff_version import Versions
from daemon.billing.many import amounts_fen, is_for_many, month_of
from daemon.billing.month_use import MonthUse, uses_of_month
from daemon.billing.posting import Stream
from daemon.billing.pricing import Terms, amounts, days_of, rounded_fen
from daemon.billing.use import Use


@dataclass(slots=True)
class Month:
    """What is kept of an account's month, and what was posted of it by component, in fen."""

    use: MonthUse = field(default_factory=dict)
    posted_fen: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Book:
    """What is kept of an account, as far as its price is asked for.

    `months`: from `since` on, and those before in the same cycle. `parts`: use by link, of the
    same time, where a matrix ladder needs it."""

    account_id: int
    terms: Terms
    since: date
    months: dict[date, Month] = field(default_factory=dict)
    parts: Sequence[Use] = ()

    def month(self, month: date) -> Month:
        """What is kept of a month, to be changed."""
        return self.months.setdefault(month, Month())


Moved = dict[Stream, int]


def moved_fen(books: Iterable[Book], closed: Collection[date], zone: ZoneInfo) -> dict[int, Moved]:
    """By account what each stream is to be charged (negative: given back), never a zero.

    `closed`: the days whose end has come, in the months that the books are asked for."""
    months_closed = {day.replace(day=1) for day in closed}
    by_tariff: defaultdict[tuple[int, date], list[Book]] = defaultdict(list)
    moved: dict[int, Moved] = {}
    for book in books:
        versions = book.terms.versions
        moved[book.account_id] = {}
        if not is_for_many(versions):
            moved[book.account_id] = _moved_by_link(book, closed)
            continue
        asked = set(book.months)
        if has_fees(versions):
            asked |= months_closed
        for month in asked:
            if month >= book.since:
                by_tariff[id(versions), month].append(book)
    closed_by_month: defaultdict[date, set[date]] = defaultdict(set)
    for day in closed:
        closed_by_month[day.replace(day=1)].add(day)
    for (_, month), some in by_tariff.items():
        given = [(it.terms, _uses(it, month, zone), closed_by_month[month]) for it in some]
        found = {code: fen.tolist() for code, fen in amounts_fen(month_of(given, month)).items()}
        for number, book in enumerate(some):
            due = {code: fen[number] for code, fen in found.items()}
            kept = book.months.get(month)
            posted = kept.posted_fen if kept else {}
            _add_difference(moved[book.account_id], month, due, posted)
    return moved


def posted_now(book: Book, moved: Moved, closed: Collection[date]) -> Moved:
    """What of it is posted now: of who is settled by months (R30) that of months which are over, or
    in which the account's last day is.

    `closed`: the days whose end has come, from the book's first month on."""
    return {it: fen for it, fen in moved.items() if is_posted(book.terms, it.period, closed)}


def is_posted(terms: Terms, month: date, closed: Collection[date]) -> bool:
    """Whether what a month costs is posted as it is known, or only when the month is over (R30).

    `closed`: the days of the month whose end has come."""
    last = days_of(month)[-1]
    if terms.last_day is not None:
        last = max(month, min(last, terms.last_day))
    return not terms.is_by_month or last in closed


def charging_versions(book: Book, closed: Sequence[date]) -> set[int]:
    """By which an account is charged, for use or for the days in service whose end has come.

    `closed`: these days, in order."""
    terms = book.terms
    charging = {number for month in book.months.values() for number in month.use}
    if closed and has_fees(terms.versions):
        first = terms.versions.number_on(max(closed[0], terms.opened or closed[0]))
        last = terms.versions.number_on(min(closed[-1], terms.last_day or closed[-1]))
        if last is not None:
            charging |= set(range(first or 0, last + 1))
    return charging


def has_fees(versions: Versions) -> bool:
    """Whether days cost something by themselves."""
    return any(it.fixed is not None or it.minimum_yuan is not None for it in versions.all)


def has_year(versions: Versions) -> bool:
    """Whether what a month costs depends on the year's use before it."""
    return any(it.ladder is not None and it.ladder.cycle == "year" for it in versions.all)


def _uses(book: Book, month: date, zone: ZoneInfo) -> list[Use]:
    """Of the month, and of those before it in its year."""
    versions = book.terms.versions
    first = month.replace(month=1) if has_year(versions) else month
    return [
        use
        for of_month, kept in book.months.items()
        if first <= of_month <= month
        for use in uses_of_month(of_month, kept.use, versions, zone)
    ]


def _moved_by_link(book: Book, closed: Collection[date]) -> Moved:
    """Of a tariff with a matrix ladder: its split over steps is of each link (section 5)."""
    first = book.since.replace(month=1)
    found = amounts(book.terms, book.parts, {day for day in closed if day >= first})
    due: defaultdict[date, dict[str, int]] = defaultdict(dict)
    for stream, yuan in found.charged.items():
        due[stream.period][stream.component] = rounded_fen(yuan)
    moved: Moved = {}
    for month in {*due, *book.months}:
        if month >= book.since:
            kept = book.months.get(month)
            _add_difference(moved, month, due[month], kept.posted_fen if kept else {})
    return moved


def _add_difference(
    moved: Moved, month: date, due: Mapping[str, int], posted: Mapping[str, int]
) -> None:
    # Against what was posted, not against R of the amount before: a stream whose posted sum was
    # wrong is mended by its next event (section 7.6).
    for component in {**due, **posted}:
        fen = due.get(component, 0) - posted.get(component, 0)
        if fen:
            moved[Stream(month, component)] = fen
