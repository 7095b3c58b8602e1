"""Links of many accounts at once cost to the fen what settlement makes of each by itself."""

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import date
from decimal import Decimal
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.tariff_version import TOTAL, Fixed, Ladder, TariffVersion, Versions
from daemon.billing.earlier_days import of_earlier_days
from daemon.billing.links import Link
from daemon.billing.many_links import (
    DAY,
    Charged,
    KeptMonth,
    ManyLinks,
    Moving,
    are_plain,
    by_pattern,
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


def test_use_of_a_year_that_64_bits_do_not_hold_counts_for_its_ladder() -> None:
    book = book_of(BY_YEAR, (date(2026, 1, 5), 5 * 10**18), (date(2026, 2, 5), 5 * 10**18))
    _, moved = outcome(book, (1, link_of(LAST, (200, 0, 0), 0)))
    assert moved == {Stream(MARCH, "energy"): 100, Stream(MARCH, "tier"): 10}


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
    change = (1, link_of(LAST, (steps, 0, 0), 0, Decimal("90000.0001")))
    told = outcome(book, change)
    assert [told] == one_by_one([book], [[change]], [])
    assert told[0][MARCH][-1] == steps * 900_000_001 * 100


def test_shares_of_a_span_that_64_bits_do_not_hold_are_exact() -> None:
    book = book_of(FLAT)
    book.since = date(2026, 2, 1)
    modulus = 10**18
    link = Link(1, date(2026, 2, 27), date(2026, 3, 4), 1, (1,), (10**12,), modulus, 8, Decimal(1))
    change = (1, link._replace(ends=(modulus // 10,)))
    assert [outcome(book, change)] == one_by_one([book], [[change]], [])


@pytest.mark.parametrize(
    ("before", "steps", "ratio"),
    [(2**63 - 1, 100, 1), (5 * 10**18, MODULUS - 1, 50_000), (100, MODULUS - 1, 100_000)],
)
def test_more_than_64_bits_hold_is_refused(before: int, steps: int, ratio: int) -> None:
    book = book_of(FLAT, (date(2026, 3, 2), before))
    with pytest.raises(OverflowError):
        outcome(book, (1, link_of(LAST, (steps, 0, 0, 0, 0), 0, Decimal(ratio))))


def test_registers_that_stand_still_used_nothing() -> None:
    assert outcome(book_of(FLAT), (1, link_of(LAST, (0, 0, 0), 0))) == (
        {MARCH: [7, 1, 0, 1, 0]},
        {},
    )
    assert outcome(book_of(FLAT), (1, link_of(LAST, (1, 0, 0), 0)))[0] == {
        MARCH: [7, 1, 0, 1, 10**6]
    }


def test_a_day_of_23_hours_has_that_share_of_a_span() -> None:
    links = given_of([book_of(FLAT)], [[(1, link_of(date(2026, 4, 2), (1190, 0, 0), 0, days=5))]])
    found = charged(links, [], ZoneInfo("Europe/Berlin"))
    assert found is not None
    (told,) = shown(found, links.tariff.numbers, 1)
    # 95 of 119 hours lie in March.
    assert told[0] == {
        MARCH: [7, 1, 1, 1, 950_000_000],
        date(2026, 4, 1): [7, 1, 1, 1, 240_000_000],
    }


def test_a_share_of_hours_that_64_bits_do_not_hold_on_its_way_is_exact() -> None:
    modulus = 10**18
    first, last = date(2026, 3, 28), date(2026, 4, 2)
    link = Link(1, first, last, 1, (0,), (119 * 10**15,), modulus, 8, Decimal(1))
    found = charged(given_of([book_of(FLAT)], [[(1, link)]]), [], ZoneInfo("Europe/Berlin"))
    assert found is not None
    assert found.months[MARCH].kept.use[0].registers[TOTAL].tolist() == [95 * 10**15]


TOU = replace(FLAT, energy={"peak": Decimal(1), "valley": Decimal("0.3")})
MATRIX = replace(
    FLAT,
    energy={},
    ladder=Ladder("year", "matrix", (Decimal(9),), matrix=(TOU.energy, TOU.energy)),
)


@pytest.mark.parametrize(
    ("version", "change"),
    [
        (TOU, (1, link_of(LAST, (5, 5), 0))),
        (MATRIX, (1, link_of(LAST, (300, 100, 200), 0))),
        (FLAT, (-1, link_of(LAST, (300, 100, 200), 0))),
        (FLAT, (-1, link_of(LAST, (0, 0, 0), 0))),
        (FLAT, (1, link_of(date(2026, 1, 1), (300, 100, 200), 0))),
    ],
    ids=[
        "a rate is not told",
        "a price by link",
        "use that was never put in",
        "a link that was never put in",
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


TWO_SLABS = Ladder(
    "month",
    "slab",
    (Decimal(100),),
    (Decimal("0.5"), Decimal("0.6")),
    whole_above_kwh=Decimal(100),
)
SLAB = replace(FLAT, energy={}, ladder=TWO_SLABS)
LATER = date(2026, 3, 11)


@pytest.mark.parametrize("other", [MATRIX, SLAB, replace(FLAT, minimum_yuan=Decimal(30))])
def test_a_tariff_is_plain_whose_days_make_no_day_before_dearer(other: TariffVersion) -> None:
    assert are_plain(Versions((FLAT, replace(BY_YEAR, effective_from=LATER))))
    assert not are_plain(Versions((other,)))
    assert not are_plain(Versions((FLAT, replace(other, effective_from=LATER))))


ONE_YUAN = (1, link_of(LAST, (200, 0, 0), 0))


def charged_of(
    versions: Sequence[TariffVersion],
    changes: Sequence[Sequence[Change]],
    closed: Sequence[date] = (),
    use: Sequence[int] = (),
) -> Charged | None:
    """Of accounts that used so many kWh on 2 March, if any, at the prices of the first version."""
    books = []
    for place in range(len(changes)):
        kwh = use[place] if use else 0
        book = book_of(versions[0], *([(date(2026, 3, 2), kwh * 10**8)] if kwh else []))
        books.append(replace(book, terms=Terms(Versions(tuple(versions)))))
    return charged(given_of(books, changes), closed, ZONE)


def test_a_link_that_leaves_gives_back_what_it_cost() -> None:
    book = book_of(FLAT, (date(2026, 3, 2), 2 * 10**8))
    book.month(MARCH).posted_fen = {"energy": 100}
    (sign, link) = ONE_YUAN
    assert outcome(book, (-sign, link)) == ({MARCH: []}, {Stream(MARCH, "energy"): -100})


def test_use_of_which_no_link_is_left_is_to_be_gathered_anew() -> None:
    assert charged_of([FLAT], [[(-1, ONE_YUAN[1])]], use=[3]) is None


def test_what_a_month_cost_is_kept_with_it() -> None:
    found = charged_of([FLAT], [[ONE_YUAN], []], use=[3, 0])
    assert found is not None
    month = found.months[MARCH]
    (posted,) = month.kept.posted_fen.values()
    assert posted.tolist() == month.moved_fen["energy"].tolist() == [250, 0]
    assert posted.dtype == month.moved_fen["energy"].dtype == np.int64
    assert month.kept.is_there.tolist() == [True, False]


def test_what_is_due_no_more_is_given_back() -> None:
    book = book_of(FLAT, (date(2026, 3, 2), 2 * 10**8))
    book.month(MARCH).posted_fen = {"energy": 100, "levy": 7}
    assert outcome(book)[1] == {Stream(MARCH, "levy"): -7}


def test_a_month_that_nobody_asks_for_is_not_told() -> None:
    book = book_of(FLAT, (date(2026, 2, 2), 9 * 10**8))
    found = charged(given_of([book], [[ONE_YUAN]]), [], ZONE)
    assert found is not None
    assert [*found.months] == [MARCH]


def test_an_account_of_which_nothing_is_kept_but_a_fee_is_there() -> None:
    fee = replace(FLAT, fixed=Fixed(daily_yuan=Decimal("0.2")))
    found = charged_of([fee], [[]], [MARCH])
    assert found is not None
    month = found.months[MARCH]
    assert month.kept.is_there.tolist() == [True]
    assert month.moved_fen["fixed"].tolist() == [20]


NEXT = replace(FLAT, version_id="next", effective_from=LATER)
FEE = Fixed(daily_yuan=Decimal("0.2"))


def test_the_versions_are_told_that_charge_for_use_or_days() -> None:
    fees = [replace(FLAT, fixed=FEE), replace(NEXT, fixed=FEE)]
    closed = [date(2025, 12, 31), date(2026, 3, 10)]

    def numbers(
        versions: Sequence[TariffVersion], changes: Sequence[Change], closed: Sequence[date] = ()
    ) -> list[int]:
        found = charged_of(versions, [changes], closed)
        assert found is not None
        return [*found.versions]

    assert numbers([FLAT, NEXT], [ONE_YUAN]) == [10]
    assert numbers([FLAT, NEXT], [ONE_YUAN], closed) == [10]
    assert numbers(fees, [ONE_YUAN], closed) == [7, 10]
    assert numbers(fees, [], closed) == [7]
    assert numbers(fees, []) == []


def test_a_version_whose_last_link_left_charges_no_more() -> None:
    book = book_of(FLAT, (date(2026, 3, 2), 2 * 10**8))
    found = charged(given_of([book], [[(-1, ONE_YUAN[1])]]), [], ZONE)
    assert found is not None
    assert [*found.versions] == []


def test_without_accounts_that_changed_nothing_is_charged() -> None:
    found = charged_of([FLAT], [[]])
    assert found is not None
    assert (found.months, [*found.versions], found.are_dearer.tolist()) == ({}, [], [False])


EARLIER = replace(FLAT, version_id="earlier", effective_from=date(2025, 1, 1))


@pytest.mark.parametrize(
    ("versions", "is_for_arrays"),
    [
        ([replace(EARLIER, ladder=BY_YEAR.ladder), FLAT], True),
        ([EARLIER, BY_YEAR], True),
        ([EARLIER, replace(BY_YEAR, effective_from=date(2026, 1, 15))], False),
        ([FLAT, replace(BY_YEAR, effective_from=date(2026, 6, 1))], True),
        ([FLAT, replace(BY_YEAR, effective_from=LATER)], False),
        ([BY_YEAR, NEXT], False),
        ([FLAT, NEXT, replace(BY_YEAR, effective_from=date(2026, 3, 20))], False),
    ],
)
def test_a_year_is_of_ladders_by_year_or_of_none(
    versions: Sequence[TariffVersion], is_for_arrays: bool
) -> None:
    assert (charged_of(versions, [[ONE_YUAN]]) is not None) == is_for_arrays


def test_days_alone_are_charged_by_whatever_ladder() -> None:
    found = charged_of([replace(BY_YEAR, fixed=FEE), replace(NEXT, fixed=FEE)], [[]], [MARCH])
    assert found is not None
    assert found.months[MARCH].moved_fen["fixed"].tolist() == [20]


def test_what_was_used_in_months_that_are_not_told_counts_for_its_ladder() -> None:
    links = given_of([book_of(BY_YEAR)] * 2, [[ONE_YUAN]] * 2)
    links = replace(links, used_before=np.array([99, 97]) * 10**8)
    found = charged(links, [], ZONE)
    assert found is not None
    assert found.months[MARCH].moved_fen["tier"].tolist() == [5, 0]


def test_whose_days_before_may_be_dearer_is_told() -> None:
    found = charged_of([SLAB], [[ONE_YUAN]] * 4, use=[97, 98, 99, 101])
    assert found is not None
    assert found.are_dearer.tolist() == [False, False, True, False]


def test_each_ladder_by_month_makes_days_before_dearer() -> None:
    later = replace(SLAB, version_id="later", effective_from=LATER)
    low = replace(TWO_SLABS, bounds_kwh=(Decimal(50),), whole_above_kwh=Decimal(50))
    for versions in ([replace(SLAB, ladder=low), later], [SLAB, replace(later, ladder=low)]):
        found = charged_of(versions, [[ONE_YUAN]] * 2, use=[49, 60])
        assert found is not None
        assert found.are_dearer.tolist() == [True, False]


def test_a_minimum_that_is_charged_makes_days_before_dearer() -> None:
    least = replace(FLAT, minimum_yuan=Decimal("1.01"))
    march = [MARCH + n * DAY for n in range(31)]
    found = charged_of([least], [[], [ONE_YUAN], [(1, link_of(LAST, (300, 0, 0), 0))]], march)
    assert found is not None
    assert found.months[MARCH].moved_fen["minimum"].tolist() == [101, 1, 0]
    assert found.are_dearer.tolist() == [True, True, False]


def test_whose_phases_have_no_fee_is_left_to_the_rules_of_one_account() -> None:
    by_slab = replace(SLAB, fixed=Fixed(by_slab={3: (Decimal(1), Decimal(2))}))
    assert charged_of([by_slab], [[ONE_YUAN]], [MARCH]) is None


def test_only_those_who_are_asked_for_are_encoded() -> None:
    month = KeptMonth(np.array([True, True, False, True]))
    nothing = nothing_used(FLAT, 4)
    every = np.arange(4)
    month.use[1] = nothing.plus(every, nothing._replace(links=np.array([1, 2, 3, 0])))
    month.use[0] = nothing.plus(every, nothing._replace(links=np.array([4, 0, 0, 0])))
    asked = np.array([True, True, True, True])
    found = [(which.tolist(), it.tolist()) for which, it in encoded_columns(month, asked, [7, 10])]
    assert sorted(found) == [
        ([0], [[7, 4, 0, 1, 0, 10, 1, 0, 1, 0]]),
        ([1], [[10, 2, 0, 1, 0]]),
        ([3], [[]]),
    ]
    asked[0] = False
    found_less = [*encoded_columns(month, asked, [7, 10])]
    assert [which.tolist() for which, _ in found_less] == [[3], [1]]
    assert all(use.dtype == np.int64 for _, use in found_less), "no number is binary"


def test_what_was_encoded_of_versions_is_read_again() -> None:
    tou = replace(TOU, effective_from=LATER)
    tariff = tariff_of(Versions((FLAT, tou)))
    rows = np.array([[10, 1, 0, 3, 5, 2, 3, 7, 2, 1, 1, 9], [10, 4, 0, 3, 6, 2, 4, 7, 3, 1, 1, 8]])
    use = kept_use(rows, tariff)
    assert use is not None
    assert [*use] == [1, 0]
    assert use[1].links.tolist() == [1, 4]
    assert use[0].estimated.tolist() == [1, 1]
    assert {name: it.tolist() for name, it in use[1].registers.items()} == {
        "total": [5, 6],
        "peak": [2, 2],
        "valley": [3, 4],
    }
    assert use[0].registers["total"].tolist() == [9, 8]


@pytest.mark.parametrize("other", [[10, 1, 0, 1, 100], [7, 1, 0, 2, 100]])
def test_rows_of_another_layout_are_not_read(other: list[int]) -> None:
    tariff = tariff_of(Versions((FLAT, NEXT)))
    assert kept_use(np.array([[7, 1, 0, 1, 100], other]), tariff) is None


def test_rows_are_told_by_what_is_alike() -> None:
    rows = np.zeros((5, 10), dtype=bool)
    rows[[1, 4], 9] = True
    rows[2, 0] = True
    found = {tuple(np.flatnonzero(row)): places.tolist() for row, places in by_pattern(rows)}
    assert found == {(): [0, 3], (9,): [1, 4], (0,): [2]}
    assert [(row.tolist(), it.tolist()) for row, it in by_pattern(rows[:, :0])] == [
        ([], [0, 1, 2, 3, 4])
    ]
    assert [places.tolist() for _, places in by_pattern(rows[:1, :0])] == [[0]]
    assert [*by_pattern(rows[:0])] == [*by_pattern(rows[:0, :0])] == []
