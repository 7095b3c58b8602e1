"""Links of many accounts at once cost to the fen what settlement makes of each by itself."""

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.tariff_version import TOTAL, Ladder, TariffVersion, Versions
from daemon.billing.earlier_days import of_earlier_days
from daemon.billing.links import Link
from daemon.billing.many_links import (
    Charged,
    KeptMonth,
    ManyLinks,
    Moving,
    charged,
    kept_use,
    month_number,
    nothing_used,
)
from daemon.billing.many_links import encoded as encoded_columns
from daemon.billing.month_use import PointRegisters, add, encoded, uses_of_link, uses_of_month
from daemon.billing.posting import Stream
from daemon.billing.pricing import Terms
from daemon.billing.settlement import Book, moved_fen
from daemon.billing.stored_tariff import StoredTariff
from daemon.billing.use import Use
from tests.unit.billing.stories import DAYS, FIRST, RATES, seeds, story
from tests.unit.billing.test_pricing import terms_of, uses_of

ZONE = ZoneInfo("Asia/Shanghai")
DAY = timedelta(days=1)
Change = tuple[int, Link]
"""1 and a link that comes, or -1 and one that leaves."""
POINT = PointRegisters(RATES, None)
RESIDUAL = PointRegisters(RATES, RATES[0])
MODULUS = 100_000_000
LAST = date(2026, 3, 31)
FLAT = TariffVersion("flat", date(2026, 1, 1), {TOTAL: Decimal("0.5")})
BY_YEAR = replace(
    FLAT, ladder=Ladder("year", "adder", (Decimal(100),), (Decimal(0), Decimal("0.05")))
)


def tariff_of(versions: Versions) -> StoredTariff:
    return StoredTariff(versions, tuple(7 + 3 * n for n in range(len(versions.all))))


def given_of(
    books: Sequence[Book], changes: Sequence[Sequence[Change]], point: PointRegisters = POINT
) -> ManyLinks:
    """What `charged` takes of accounts, each with its links that leave (-1) and come (1)."""
    tariff = tariff_of(books[0].terms.versions)
    moving: defaultdict[tuple[date, date, int], list[tuple[int, Link]]] = defaultdict(list)
    for place, links in enumerate(changes):
        for sign, link in links:
            moving[link.from_day, link.to_day, sign].append((place, link))
    shown = next((links[0][1] for links in changes if links), link_of(LAST, (0, 0, 0), 0))
    return ManyLinks(
        tariff,
        point,
        shown.modulus,
        shown.decimals,
        shown.ratio,
        [
            Moving(
                *days_and_sign,
                np.array([place for place, _ in some]),
                np.array([link.begins for _, link in some]),
                np.array([link.ends for _, link in some]),
            )
            for days_and_sign, some in moving.items()
        ],
        np.array([month_number(book.since) for book in books]),
        kept_of(books, tariff),
        np.zeros(len(books), dtype=np.int64),
        [book.terms for book in books],
        np.arange(len(books)),
    )


def kept_of(books: Sequence[Book], tariff: StoredTariff) -> dict[date, KeptMonth]:
    """What is kept of all months, read from what is stored of each account."""
    count = len(books)
    months: dict[date, KeptMonth] = {}
    for place, book in enumerate(books):
        for of, told in book.months.items():
            which = np.array([place])
            month = months.setdefault(of, KeptMonth(np.zeros(count, dtype=bool)))
            month.is_there[place] = True
            stored = np.array([encoded(told.use, tariff.numbers)], dtype=np.int64)
            use = kept_use(stored, tariff)
            assert use is not None
            for version, it in use.items():
                nothing = nothing_used(tariff.versions.all[version], count)
                month.use[version] = month.use.get(version, nothing).plus(which, it)
            for code, fen in told.posted_fen.items():
                posted = month.posted_fen.setdefault(code, np.zeros(count, dtype=np.int64))
                posted[place] = fen
    return months


Outcome = tuple[dict[date, list[int]], dict[Stream, int]]
"""What is kept by month, and what is charged."""


def one_by_one(
    books: Sequence[Book],
    changes: Sequence[Sequence[Change]],
    closed: Sequence[date],
    point: PointRegisters = POINT,
) -> list[Outcome]:
    """What is kept of each from now on, and what it is charged, by the rules for one account."""
    found = []
    for book, links in zip(deepcopy(books), changes, strict=True):
        versions = book.terms.versions
        touched = {month for month in book.months if month >= book.since}
        for sign, link in links:
            for use in uses_of_link(link, versions, ZONE, point):
                add(book.month(use.month).use, use, sign, versions)
                touched.add(use.month)
        moved = moved_fen([book], closed, ZONE)[book.account_id]
        touched |= {stream.period for stream in moved}
        numbers = tariff_of(versions).numbers
        kept = {month: encoded(book.month(month).use, numbers) for month in touched}
        found.append((kept, moved))
    return found


def shown(found: Charged, numbers: Sequence[int], count: int) -> list[Outcome]:
    outcomes: list[Outcome] = [({}, {}) for _ in range(count)]
    every = np.ones(count, dtype=bool)
    for month, it in found.months.items():
        for which, use in encoded_columns(it.kept, every, numbers):
            for place, told in zip(which.tolist(), use.tolist(), strict=True):
                outcomes[place][0][month] = told
        for code, fen in it.moved_fen.items():
            for place in np.flatnonzero(fen).tolist():
                outcomes[place][1][Stream(month, code)] = int(fen[place])
    return outcomes


def link_of(
    day: date, used: Sequence[int], begin: int, ratio: Decimal = Decimal(1), days: int = 1
) -> Link:
    """The link of so many days that ends on a day."""
    begins = [begin] * len(used)
    ends = [(begin + steps) % MODULUS for steps in used]
    return Link(1, day - days * DAY, day, 1, tuple(begins), tuple(ends), MODULUS, 2, ratio)


def accounts_of(seed: int, chance: Random, day: date) -> tuple[list[Book], list[list[Change]]]:
    """Accounts of one tariff with terms of their own, of which links around a day change."""
    first = story(seed)
    told = [first, *(story(seed + n, like=first) for n in (1, 2, 3))]
    ratio = chance.choice([Decimal(1), Decimal(40), Decimal("1.5")])
    books, changes = [], []
    for number, it in enumerate(told):
        terms = terms_of(it)
        versions = Versions(tuple(map(for_columns, terms.versions.all)))
        terms = replace(terms, versions=versions, last_day=None)
        leaving, coming = links_around(day, chance, ratio)
        begins = [link.from_day for link in (*leaving, *coming)] or [day]
        book = Book(number, terms, min(begins).replace(day=1))
        times = chance.randint(0, 9)
        for use in uses_of(first, terms):
            if use.start.date() < min(begins):
                more = {name: times * steps for name, steps in use.registers.items()}
                add(book.month(use.month).use, use._replace(registers=more), 1, terms.versions)
        for link in leaving:
            for use in uses_of_link(link, terms.versions, ZONE, POINT):
                add(book.month(use.month).use, use, 1, terms.versions)
        # By events that were charged, or wrongly so.
        for stream, fen in moved_fen([book], [], ZONE)[number].items():
            book.month(stream.period).posted_fen[stream.component] = fen + chance.choice([0, 0, 9])
        books.append(book)
        changes.append([*((-1, link) for link in leaving), *((1, link) for link in coming)])
    return books, changes


def for_columns(version: TariffVersion) -> TariffVersion:
    """Without what is priced link by link."""
    ladder = version.ladder
    if ladder is not None and ladder.method == "matrix":
        ladder = None
    return replace(version, ladder=ladder)


def links_around(day: date, chance: Random, ratio: Decimal) -> tuple[list[Link], list[Link]]:
    """A span that leaves, or none, and the days or spans that come in its place."""
    lengths = [chance.randint(1, 9) for _ in range(chance.choice([0, 1, 1, 2, 4]))]
    begin = chance.choice([0, 5_000, MODULUS - 1])
    coming: list[Link] = []
    for length in lengths:
        day += length * DAY
        peak, valley = chance.randint(0, 4_000), chance.randint(0, 4_000)
        coming.append(link_of(day, (peak + valley, peak, valley), begin, ratio, length))
        if len(coming) > 1:
            begins = coming[-2].ends
            ends = [
                (it + steps) % MODULUS
                for it, steps in zip(begins, (peak + valley, peak, valley), strict=True)
            ]
            coming[-1] = coming[-1]._replace(begins=begins, ends=tuple(ends))
    if len(coming) > 1 and chance.random() < 0.5:
        whole = coming[0]._replace(to_day=coming[-1].to_day, ends=coming[-1].ends)
        return [whole], coming
    return [], coming


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(0, 2**32))
def test_links_of_many_accounts_cost_what_they_cost_each(seed: int, order: int) -> None:
    chance = Random(order)
    day = FIRST + chance.randint(2, DAYS) * DAY
    books, changes = accounts_of(seed, chance, day)
    month = day.replace(day=1)
    closed = [month + n * DAY for n in range(chance.randint(0, 28))]
    point = chance.choice([POINT, RESIDUAL])
    given_links = given_of(books, changes, point)
    found = charged(given_links, closed, ZONE)
    if found is not None:
        numbers = given_links.tariff.numbers
        assert shown(found, numbers, len(books)) == one_by_one(books, changes, closed, point)
        if not any(sign < 0 for links in changes for sign, _ in links):
            are_told = dearer_by_account(books, changes, closed, point)
            assert (found.are_dearer >= are_told).all(), "who is told alone may be more"


def dearer_by_account(
    books: Sequence[Book],
    changes: Sequence[Sequence[Change]],
    closed: Sequence[date],
    point: PointRegisters,
) -> list[bool]:
    """For whom what came makes days before dearer, by the rules for one account."""
    told = []
    charged_each = one_by_one(books, changes, closed, point)
    for book, links, (_, moved) in zip(books, changes, charged_each, strict=True):
        versions = book.terms.versions
        is_dearer = False
        for month in {it.period for it in moved}:
            known = book.months.get(month)
            before = [*uses_of_month(month, known.use, versions, ZONE)] if known else []
            uses = [use for _, link in links for use in uses_of_link(link, versions, ZONE, point)]
            came = [use for use in uses if use.month == month]
            found = of_earlier_days(book.terms, month, before, came, moved, closed)
            is_dearer = is_dearer or found.fen != 0
        told.append(is_dearer)
    return told


def book_of(version: TariffVersion, *before: tuple[date, int]) -> Book:
    """An account that used so much, in 10^-8 kWh, on days before."""
    book = Book(1, Terms(Versions((version,))), date(2026, 3, 1))
    for day, total in before:
        use = Use(day.replace(day=1), 0, {TOTAL: total}, None)  # type: ignore[arg-type]
        add(book.month(use.month).use, use, 1, book.terms.versions)
    return book


def outcome(book: Book, *changes: Change) -> Outcome:
    links = given_of([book], [changes])
    found = charged(links, [], ZONE)
    assert found is not None
    (told,) = shown(found, links.tariff.numbers, 1)
    return told


MARCH: Final = date(2026, 3, 1)


def test_what_was_used_before_in_the_year_counts_for_its_ladder() -> None:
    book = book_of(BY_YEAR, (date(2026, 1, 5), 90 * 10**8), (date(2026, 3, 2), 9 * 10**8))
    kept, moved = outcome(book, (1, link_of(LAST, (300, 100, 200), 0)))
    # 12 kWh at 0.5 yuan, of which 2 lie above 100 kWh.
    assert moved == {Stream(MARCH, "energy"): 600, Stream(MARCH, "tier"): 10}
    assert kept == {MARCH: [7, 2, 0, 1, 12 * 10**8]}


def test_a_year_that_begins_in_the_span_begins_its_ladder_anew() -> None:
    version = replace(BY_YEAR, effective_from=date(2025, 1, 1))
    book = book_of(version, (date(2025, 12, 1), 99 * 10**8))
    book.since = date(2025, 12, 1)
    kept, moved = outcome(book, (1, link_of(date(2026, 1, 3), (400, 0, 0), 0, days=4)))
    # Two days of four lie in each year: 2 kWh, of which one lies above 100 kWh in the first.
    assert moved == {
        Stream(date(2025, 12, 1), "energy"): 101 * 50,
        Stream(date(2025, 12, 1), "tier"): 5,
        Stream(date(2026, 1, 1), "energy"): 100,
    }
    assert kept == {
        date(2025, 12, 1): [7, 2, 1, 1, 101 * 10**8],
        date(2026, 1, 1): [7, 1, 1, 1, 2 * 10**8],
    }


def test_without_a_link_what_was_charged_right_is_not_charged_again() -> None:
    book = book_of(FLAT, (date(2026, 3, 2), 9 * 10**8))
    book.month(MARCH).posted_fen = {"energy": 450}
    assert outcome(book) == ({MARCH: [7, 1, 0, 1, 9 * 10**8]}, {})


def test_months_before_the_first_that_may_cost_otherwise_are_left_alone() -> None:
    book = book_of(FLAT, (date(2026, 2, 2), 9 * 10**8))
    book.month(date(2026, 2, 1)).posted_fen = {"energy": 1}
    kept, moved = outcome(book, (1, link_of(LAST, (300, 0, 0), 0)))
    assert ([*kept], moved) == ([MARCH], {Stream(MARCH, "energy"): 150})


def test_a_month_that_is_asked_of_another_account_is_left_alone() -> None:
    books = [book_of(FLAT, (date(2026, 2, 2), 9 * 10**8)) for _ in range(2)]
    for book in books:
        book.month(date(2026, 2, 1)).posted_fen = {"energy": 1}
    books[1].since = date(2026, 2, 1)
    changes: list[list[Change]] = [[(1, link_of(LAST, (300, 0, 0), 0))] for _ in books]
    found = charged(given_of(books, changes), [], ZONE)
    assert found is not None
    assert shown(found, [7], 2) == one_by_one(books, changes, [])


def test_numbers_that_64_bits_do_not_hold_on_their_way_are_exact() -> None:
    book = book_of(replace(FLAT, energy={TOTAL: Decimal("0.52830001")}))
    steps = MODULUS - 1
    change = (1, link_of(LAST, (steps, 0, 0), 0, Decimal(90_000)))
    told = outcome(book, change)
    assert [told] == one_by_one([book], [[change]], [])
    assert told[0][MARCH][-1] == steps * 90_000 * 10**6


def test_shares_of_a_span_that_64_bits_do_not_hold_are_exact() -> None:
    book = book_of(FLAT)
    book.since = date(2026, 2, 1)
    modulus = 10**18
    link = Link(1, date(2026, 2, 27), date(2026, 3, 4), 1, (1,), (10**12,), modulus, 8, Decimal(1))
    change = (1, link._replace(ends=(modulus // 10,)))
    assert [outcome(book, change)] == one_by_one([book], [[change]], [])


def test_more_than_64_bits_hold_is_refused() -> None:
    book = book_of(FLAT, (date(2026, 3, 2), 2**63 - 1))
    with pytest.raises(OverflowError):
        outcome(book, (1, link_of(LAST, (100, 0, 0), 0)))


TOU = replace(FLAT, energy={"peak": Decimal(1), "valley": Decimal("0.3")})
MATRIX = replace(
    FLAT,
    energy={},
    ladder=Ladder(
        "year", "matrix", (Decimal(9),), matrix=({TOTAL: Decimal(1)}, {TOTAL: Decimal(2)})
    ),
)


@pytest.mark.parametrize(
    ("version", "change"),
    [
        (TOU, (1, link_of(LAST, (5, 5), 0))),
        (MATRIX, (1, link_of(LAST, (300, 100, 200), 0))),
        (FLAT, (-1, link_of(LAST, (300, 100, 200), 0))),
        (FLAT, (1, link_of(date(2026, 1, 1), (300, 100, 200), 0))),
    ],
    ids=[
        "a rate is not told",
        "a price by link",
        "use that was never put in",
        "before the first version",
    ],
)
def test_what_is_for_no_arrays_is_left_to_the_rules_of_one_account(
    version: TariffVersion, change: Change
) -> None:
    assert charged(given_of([book_of(version)], [[change]]), [], ZONE) is None


@pytest.mark.parametrize(
    "use",
    [[8, 1, 0, 1, 100], [7, 1, 0, 2, 100, 50]],
    ids=["of another version", "of other registers"],
)
def test_what_is_kept_otherwise_is_not_read(use: list[int]) -> None:
    assert kept_use(np.array([use]), tariff_of(Versions((FLAT,)))) is None
