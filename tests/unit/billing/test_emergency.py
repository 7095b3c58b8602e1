"""Emergency credit lowers the floor, is repaid first and is offered again only behind that (R63)."""

from dataclasses import replace

import pytest

from daemon.billing.emergency import EmergencyCredit, EmergencyState, next_emergency

CREDIT = EmergencyCredit(limit_fen=1_000, activation_fen=200, trip_fen=0)


def course(credit: EmergencyCredit, *steps: tuple[int, bool]) -> list[EmergencyState]:
    """The states of balances in order, each with whether the customer accepts the offer."""
    state: EmergencyState = "unavailable"
    states = []
    was = steps[0][0]
    for balance, accepts in steps:
        state = next_emergency(credit, state, was, balance, is_accepted=accepts)
        states.append(state)
        was = balance
    return states


def test_it_is_offered_at_the_activation_threshold_and_not_above() -> None:
    assert course(CREDIT, (201, True), (200, False), (150, True)) == [
        "unavailable",
        "offered",
        "active",
    ]


def test_it_may_activate_by_itself() -> None:
    assert course(replace(CREDIT, is_automatic=True), (200, False)) == ["active"]


def test_only_an_active_one_lowers_the_floor() -> None:
    assert CREDIT.available_fen("active") == 1_000
    states: list[EmergencyState] = ["unavailable", "offered", "repaid"]
    assert [CREDIT.available_fen(state) for state in states] == [0, 0, 0]


@pytest.mark.parametrize(
    ("balance", "used"), [(50, 0), (0, 0), (-1, 1), (-1_000, 1_000), (-1_500, 1_000)]
)
def test_use_below_the_trip_threshold_counts_against_it(balance: int, used: int) -> None:
    assert CREDIT.used_fen("active", balance) == used
    assert CREDIT.used_fen("offered", balance) == 0


def test_it_is_offered_again_only_after_full_repayment_and_a_new_fall() -> None:
    assert course(
        CREDIT, (100, True), (-600, False), (-10, True), (100, True), (300, True), (200, False)
    ) == ["active", "active", "active", "repaid", "unavailable", "offered"]


def test_nobody_takes_an_offer_by_saying_nothing() -> None:
    assert next_emergency(CREDIT, "unavailable", 300, 200) == "offered"
    assert next_emergency(CREDIT, "offered", 200, 200) == "offered"


def test_one_that_was_repaid_stays_so_until_the_balance_is_above_the_threshold() -> None:
    one_fen = [(100, True), (-1, False), (0, True), (-5, True), (200, True), (201, True)]
    assert course(CREDIT, *one_fen) == [
        "active",
        "active",
        "repaid",
        "repaid",
        "repaid",
        "unavailable",
    ]


def test_one_that_was_never_used_stays_active_until_the_balance_is_above_the_threshold() -> None:
    assert course(CREDIT, (200, True), (50, False), (201, False)) == [
        "active",
        "active",
        "unavailable",
    ]
