"""When a customer could have been cut at the earliest."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta

import pytest

from daemon.control.guard import Policy
from daemon.control.rehearsal import Customer, Morning, candidates

STRICT = Policy()
LAX = Policy(
    window_start=time(0),
    window_end=time.max,
    working_days_only=False,
    no_trip_on_eve=False,
    written_required=False,
    final_required=False,
    approvals_required=0,
)
CUSTOMER = Customer("P1", "A1", 0, 0, has_agreement=True, protected=False, life_support=False)
MONDAY = datetime(2026, 3, 2, 9)


def mornings(*balances_fen: int) -> list[Morning]:
    """From a Monday on."""
    days = [MONDAY + timedelta(days=n) for n in range(len(balances_fen))]
    return [
        Morning(at, fen, at.replace(hour=0)) for at, fen in zip(days, balances_fen, strict=True)
    ]


def found(policy: Policy, balances_fen: Sequence[int], customer: Customer = CUSTOMER) -> list[int]:
    """The days after that Monday."""
    return [(it.at - MONDAY).days for it in candidates(policy, customer, mornings(*balances_fen))]


@pytest.mark.parametrize(
    ("policy", "balances_fen", "days"),
    [
        (LAX, [0, 1, -1, -2, -3], [2]),
        (LAX, [-1, 0, -1, -1], [0, 2]),
        (LAX, [-1, -1, 0, -1], [0, 3]),
        (replace(LAX, min_debt_fen=3), [-1, -2, -3, -4], [2]),
        # Written on Monday, three days old on Thursday.
        (STRICT, [-1, -1, -1, -1, -1], [3]),
        # On Friday it would be the eve of rest days: the next Monday.
        (STRICT, [0, -1, -1, -1, -1, -1, -1, -1, -1], [7]),
        # What is paid in between makes old notices void.
        (STRICT, [-1, -1, 0, -1, -1, -1, -1, -1], [7]),
        (STRICT, [-1, -1, -1, 0], []),
    ],
)
def test_it_is_the_first_morning_of_a_debt_that_the_guard_allows(
    policy: Policy, balances_fen: list[int], days: list[int]
) -> None:
    assert found(policy, balances_fen) == days


def test_a_debt_begins_where_the_credit_of_a_customer_ends() -> None:
    granted = replace(CUSTOMER, credit_limit_fen=2)
    assert found(STRICT, [-1] * 3 + [-3] * 6, granted) == [7]
    assert found(replace(LAX, min_debt_fen=3), [-3, -4, -5], granted) == [2]


def test_an_old_reading_or_none_holds_it_back() -> None:
    told = mornings(-1, -1)
    unread = [replace(it, last_reading_at=None) for it in told]
    assert [*candidates(LAX, CUSTOMER, unread)] == []
    old = [replace(it, last_reading_at=it.at - timedelta(hours=37)) for it in told]
    assert [*candidates(LAX, CUSTOMER, old)] == []


@pytest.mark.parametrize(
    "customer",
    [
        replace(CUSTOMER, protected=True),
        replace(CUSTOMER, life_support=True),
        replace(CUSTOMER, has_agreement=False),
        replace(CUSTOMER, credit_limit_fen=2),
        replace(CUSTOMER, trip_fen=-2),
    ],
)
def test_who_is_never_cut_is_no_candidate(customer: Customer) -> None:
    assert found(LAX, [-1, -2], customer) == []
