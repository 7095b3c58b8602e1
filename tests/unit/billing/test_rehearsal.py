"""Which versions a rehearsal tries, and what is said of the bills."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.tariff_version import TOTAL, TariffVersion, Versions
from daemon.billing.posting import Stream
from daemon.billing.pricing import Terms
from daemon.billing.rehearsal import (
    MOST_NAMED,
    Paid,
    Summary,
    as_told,
    bill,
    first_month,
)
from daemon.billing.settlement import Book, Month
from daemon.billing.stored_tariff import StoredTariff

JANUARY, APRIL, JULY = (date(2026, month, 1) for month in (1, 4, 7))


def version(start: date, yuan: str, name: str = "T") -> TariffVersion:
    return TariffVersion(f"{name}@{start}", start, {TOTAL: Decimal(yuan)})


def of(*versions: TariffVersion) -> Versions:
    return Versions(versions)


COUNTING = StoredTariff(of(version(JANUARY, "0.5"), version(JULY, "0.6")), (3, 8))


def trial(
    told: Versions, since: date | None = None
) -> tuple[list[tuple[date, str, int]], list[date]]:
    found = as_told(COUNTING, told, since, count(-1, -1))
    pairs = zip(found.tariff.versions.all, found.tariff.numbers, strict=True)
    return [(it.effective_from, str(it.energy[TOTAL]), n) for it, n in pairs], list(found.starts)


@pytest.mark.parametrize(
    ("told", "since", "versions", "starts"),
    [
        (of(version(APRIL, "0.7")), None, "0.5 3, 0.7 -1, 0.6 8", [APRIL]),
        (of(version(JULY, "0.7")), None, "0.5 3, 0.7 -1", [JULY]),
        (of(version(JANUARY, "0.50", "U"), version(JULY, "0.9")), None, "0.5 3, 0.9 -1", [JULY]),
        (of(version(JANUARY, "0.5", "U"), version(JULY, "0.6")), None, "0.5 3, 0.6 8", []),
        (
            of(version(APRIL, "0.7"), version(JULY, "0.8")),
            None,
            "0.5 3, 0.7 -1, 0.8 -2",
            [APRIL, JULY],
        ),
        (
            of(version(APRIL, "0.7"), version(date(2027, 1, 1), "0.8")),
            APRIL,
            "0.5 3, 0.8 -1",
            [APRIL],
        ),
        (of(version(JULY, "0.8")), JANUARY, "0.8 -1", [JANUARY]),
    ],
)
def test_what_the_file_tells_takes_the_place_of_what_counts_that_day(
    told: Versions, since: date | None, versions: str, starts: list[date]
) -> None:
    found, new = trial(told, since)
    assert ", ".join(f"{yuan} {number}" for _, yuan, number in found) == versions
    assert new == starts


def test_months_are_counted_with_that_of_today() -> None:
    today = date(2026, 3, 31)
    months = [first_month(today, count) for count in (1, 2, 3, 4, 12)]
    assert [f"{it}" for it in months] == [
        "2026-03-01",
        "2026-02-01",
        "2026-01-01",
        "2025-12-01",
        "2025-04-01",
    ]
    assert first_month(date(2026, 4, 30), 2) == date(2026, 3, 1)
    assert MOST_NAMED == 10


def test_a_bill_is_what_was_posted_and_what_settling_would_move_of_its_months() -> None:
    book = Book(1, Terms(of(version(JANUARY, "0.5"))), JANUARY)
    book.months = {
        JANUARY: Month(posted_fen={"energy": 900}),
        APRIL: Month(posted_fen={"energy": 100, "fixed": 20}),
    }
    moved = {Stream(APRIL, "energy"): 7, Stream(JULY, "energy"): 40}
    assert bill((book, {}), (book, moved), APRIL) == {APRIL: Paid(120, 127), JULY: Paid(0, 40)}
    fewer = Book(1, book.terms, JANUARY, {JULY: Month(posted_fen={"energy": 3})})
    assert bill((book, {}), (fewer, {}), APRIL) == {APRIL: Paid(120, 0), JULY: Paid(0, 3)}


def summed(more_fen: Sequence[int]) -> Summary:
    summary = Summary()
    for number, fen in enumerate(more_fen):
        summary.add(f"A{number:03}", {JANUARY: Paid(100, 100 + fen - 1), APRIL: Paid(0, 1)})
    return summary


@given(st.lists(st.integers(-1000, 1000)))
def test_months_and_accounts_add_up_to_all(more_fen: list[int]) -> None:
    summary = summed(more_fen)
    assert summary.paid.more_fen == sum(more_fen)
    assert sum(it.more_fen for it in summary.months.values()) == sum(more_fen)
    assert summary.paying_more == sum(it > 0 for it in more_fen)
    assert summary.paying_less == sum(it < 0 for it in more_fen)


@given(st.lists(st.integers(-1000, 1000), min_size=1))
def test_a_quantile_is_the_least_that_so_many_accounts_are_not_above(more_fen: list[int]) -> None:
    for percent, fen in summed(more_fen).quantiles().items():
        reached = sum(it <= fen for it in more_fen)
        below = sum(it < fen for it in more_fen)
        assert 100 * reached >= percent * len(more_fen)
        assert 100 * below < percent * len(more_fen) or below == 0
        assert fen in more_fen


def test_quantiles_are_the_least_the_most_the_quarters_and_the_twentieths() -> None:
    found = summed([*range(100)]).quantiles()
    assert found == {0: 0, 5: 4, 25: 24, 50: 49, 75: 74, 95: 94, 100: 99}


def test_of_those_that_pay_the_same_more_the_first_by_number_is_named_first() -> None:
    summary = Summary()
    for account, was in (("A2", 1), ("A1", 2), ("A0", 9)):
        summary.add(account, {JANUARY: Paid(was, was + 5)})
    assert [it for it, _ in summary.most_affected()] == ["A0", "A1", "A2"]


def test_who_pays_a_fen_more_or_less_is_counted() -> None:
    summary = summed([1, 0, -1, -1])
    assert (summary.paying_more, summary.paying_less) == (1, 2)


def test_who_pays_most_more_and_most_less_is_named() -> None:
    assert summed([]).quantiles() == {}
    assert [account for account, _ in summed([3, -2, 0, 9, 1]).most_affected()] == [
        "A003",
        "A000",
        "A004",
        "A001",
    ]
    many = summed([*range(-20, 20)]).most_affected()
    assert [it.more_fen for _, it in many] == [
        *range(19, 19 - MOST_NAMED, -1),
        *range(-20 + MOST_NAMED - 1, -21, -1),
    ]
