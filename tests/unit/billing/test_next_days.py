"""A day of many accounts at once is to the fen what settlement makes of each by itself."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.tariff_version import TOTAL, Ladder, TariffVersion, Versions
from daemon.billing.links import Link
from daemon.billing.month_use import PointRegisters, add, encoded, uses_of_link
from daemon.billing.next_days import Charged, NextDay, charged
from daemon.billing.pricing import Terms
from daemon.billing.settlement import Book, Month, moved_fen
from daemon.billing.stored_tariff import StoredTariff
from daemon.billing.use import Use
from tests.unit.billing.stories import DAYS, FIRST, RATES, seeds, story
from tests.unit.billing.test_pricing import terms_of, uses_of

ZONE = ZoneInfo("Asia/Shanghai")
DAY = timedelta(days=1)
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
    books: Sequence[Book],
    links: Sequence[Link],
    day: date,
    point: PointRegisters = POINT,
    *,
    is_linked: bool = False,
) -> NextDay:
    """What `charged` takes of accounts, each with the link that ends on this day."""
    tariff = tariff_of(books[0].terms.versions)
    month = (day - DAY).replace(day=1)
    kept = [book.months.get(month, Month()) for book in books]
    components = [*kept[0].posted_fen]
    before = [
        sum(
            use.registers[0]
            for of, it in book.months.items()
            if of < month
            for use in it.use.values()
        )
        for book in books
    ]
    return NextDay(
        day,
        tariff,
        point,
        links[0].modulus,
        links[0].decimals,
        links[0].ratio,
        is_linked,
        np.array([it.begins for it in links]),
        np.array([it.ends for it in links]),
        np.array([encoded(it.use, tariff.numbers) for it in kept], dtype=np.int64),
        components,
        np.array([[it.posted_fen[of] for of in components] for it in kept], dtype=np.int64),
        np.array(before),
        [book.terms for book in books],
        np.arange(len(books)),
    )


def one_by_one(
    books: Sequence[Book],
    links: Sequence[Link],
    day: date,
    closed: Sequence[date],
    point: PointRegisters = POINT,
) -> list[tuple[list[int], dict[str, int]]]:
    """What is kept of each from now on, and what it is charged, by the rules for one account."""
    found = []
    month = (day - DAY).replace(day=1)
    for book, link in zip(deepcopy(books), links, strict=True):
        versions = book.terms.versions
        for use in uses_of_link(link, versions, ZONE, point):
            add(book.month(use.month).use, use, 1, versions)
        moved = moved_fen([book], closed, ZONE)[book.account_id]
        assert all(stream.period == month for stream in moved)
        kept = encoded(book.month(month).use, tariff_of(versions).numbers)
        found.append((kept, {stream.component: fen for stream, fen in moved.items()}))
    return found


def shown(found: Charged) -> list[tuple[list[int], dict[str, int]]]:
    names = [*found.moved_fen]
    moved = np.stack([*found.moved_fen.values()], axis=1).tolist()
    return [
        (use, {name: fen for name, fen in zip(names, of, strict=True) if fen})
        for use, of in zip(found.use.tolist(), moved, strict=True)
    ]


def link_of(day: date, used: Sequence[int], begin: int, ratio: Decimal) -> Link:
    begins = [begin] * len(used)
    ends = [(begin + steps) % MODULUS for steps in used]
    return Link(1, day - DAY, day, 1, tuple(begins), tuple(ends), MODULUS, 2, ratio)


def accounts_of(seed: int, chance: Random, day: date) -> tuple[list[Book], list[Link]]:
    """Accounts of one tariff with terms of their own, that used energy on the same days."""
    first = story(seed)
    told = [first, *(story(seed + n, like=first) for n in (1, 2, 3))]
    month = (day - DAY).replace(day=1)
    ratio = chance.choice([Decimal(1), Decimal(40), Decimal("1.5")])
    books, links = [], []
    for number, it in enumerate(told):
        terms = replace(terms_of(it), last_day=None)
        book = Book(number, terms, month)
        times = chance.randint(0, 9)
        for use in uses_of(first, terms):
            if use.start.date() < day - DAY:
                more = {name: times * steps for name, steps in use.registers.items()}
                add(book.month(use.month).use, use._replace(registers=more), 1, terms.versions)
        # By events that were charged, or wrongly so.
        for stream, fen in moved_fen([book], [], ZONE)[number].items():
            book.month(stream.period).posted_fen[stream.component] = fen + chance.choice([0, 0, 9])
        books.append(book)
        peak, valley = chance.randint(0, 4_000), chance.randint(0, 4_000)
        begin = chance.choice([0, 5_000, MODULUS - 1])
        links.append(link_of(day, (peak + valley, peak, valley), begin, ratio))
    components = sorted({of for book in books for of in book.month(month).posted_fen})
    for book in books:
        posted = book.month(month).posted_fen
        book.month(month).posted_fen = {of: posted.get(of, 0) for of in components}
    return books, links


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(0, 2**32))
def test_a_day_of_many_accounts_costs_what_it_costs_each(seed: int, order: int) -> None:
    chance = Random(order)
    day = FIRST + chance.randint(2, DAYS) * DAY
    books, links = accounts_of(seed, chance, day)
    month = (day - DAY).replace(day=1)
    closed = [month + n * DAY for n in range(chance.randint(0, 28))]
    point = chance.choice([POINT, RESIDUAL])
    found = charged(given_of(books, links, day, point), closed)
    if found is not None:
        assert shown(found) == one_by_one(books, links, day, closed, point)


def book_of(version: TariffVersion, *before: tuple[date, int]) -> Book:
    """An account that used so much, in 10^-8 kWh, on days before."""
    book = Book(1, Terms(Versions((version,))), date(2026, 3, 1))
    for day, total in before:
        use = Use(day.replace(day=1), 0, {TOTAL: total}, None)  # type: ignore[arg-type]
        add(book.month(use.month).use, use, 1, book.terms.versions)
    return book


def test_what_was_used_before_in_the_year_counts_for_its_ladder() -> None:
    book = book_of(BY_YEAR, (date(2026, 1, 5), 90 * 10**8), (date(2026, 3, 2), 9 * 10**8))
    link = link_of(LAST, (300, 100, 200), 0, Decimal(1))
    found = charged(given_of([book], [link], LAST), [])
    assert found is not None
    # 12 kWh at 0.5 yuan, of which 2 lie above 100 kWh.
    assert {name: fen.tolist() for name, fen in found.moved_fen.items()} == {
        "energy": [600],
        "tier": [10],
    }
    assert found.use.tolist() == [[7, 2, 0, 1, 12 * 10**8]]
    assert found.versions == [7]


def test_a_link_that_is_there_is_not_charged_for_again() -> None:
    link = link_of(LAST, (300, 100, 200), 0, Decimal(1))
    book = book_of(FLAT, (date(2026, 3, 2), 9 * 10**8))
    book.month(date(2026, 3, 1)).posted_fen = {"energy": 450}
    found = charged(given_of([book], [link], LAST, is_linked=True), [])
    assert found is not None
    assert found.moved_fen["energy"].tolist() == [0]
    assert found.use.tolist() == [[7, 1, 0, 1, 9 * 10**8]]


def test_numbers_that_64_bits_do_not_hold_on_their_way_are_exact() -> None:
    book = book_of(replace(FLAT, energy={TOTAL: Decimal("0.52830001")}))
    steps = MODULUS - 1
    link = link_of(LAST, (steps, 0, 0), 0, Decimal(90_000))
    found = charged(given_of([book], [link], LAST), [])
    assert found is not None
    assert shown(found) == one_by_one([book], [link], LAST, [])
    assert found.use.tolist()[0][-1] == steps * 90_000 * 10**6


def test_more_than_64_bits_hold_is_refused() -> None:
    book = book_of(FLAT, (date(2026, 3, 2), 2**63 - 1))
    link = link_of(LAST, (100, 0, 0), 0, Decimal(1))
    with pytest.raises(OverflowError):
        charged(given_of([book], [link], LAST), [])


TOU = replace(FLAT, energy={"peak": Decimal(1), "valley": Decimal("0.3")})
MATRIX = replace(
    FLAT,
    energy={},
    ladder=Ladder(
        "year", "matrix", (Decimal(9),), matrix=({TOTAL: Decimal(1)}, {TOTAL: Decimal(2)})
    ),
)


@pytest.mark.parametrize(
    ("changed", "version"),
    [
        ({"begins": np.array([[0, 0]]), "ends": np.array([[5, 5]])}, TOU),
        ({}, MATRIX),
        ({"use": np.array([[8, 1, 0, 1, 100]])}, FLAT),
        ({"use": np.array([[7, 1, 0, 2, 100, 50]])}, FLAT),
        ({"use": np.array([[7, -1, 0, 1, 100]])}, FLAT),
        ({"day": date(2026, 1, 1)}, FLAT),
    ],
    ids=[
        "a rate is not told",
        "a price by link",
        "kept of another version",
        "kept of other registers",
        "kept without a link",
        "before the first version",
    ],
)
def test_what_is_for_no_arrays_is_left_to_the_rules_of_one_account(
    changed: dict[str, object], version: TariffVersion
) -> None:
    link = link_of(LAST, (300, 100, 200), 0, Decimal(1))
    told = given_of([book_of(version)], [link], LAST)
    assert charged(replace(told, **changed), []) is None  # type: ignore[arg-type]
