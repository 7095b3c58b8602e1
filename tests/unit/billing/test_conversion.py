"""What a card meter still held becomes prepaid money: money, section 13; R54."""

from fractions import Fraction

import pytest

from daemon.billing.conversion import converted_fen

PRICE = Fraction("0.5283")


@pytest.mark.parametrize(
    ("money", "orders", "overdraft", "credit_fen"),
    [(0, 5_000, 0, 9_410), (120, 0, 0, 4_530), (0, 0, 1_000, 3_410), (0, 0, 5_000, -590)],
)
def test_energy_money_and_orders_less_the_overdraft(
    money: int, orders: int, overdraft: int, credit_fen: int
) -> None:
    assert converted_fen(Fraction("83.47"), PRICE, money, orders, overdraft) == credit_fen


def test_only_the_energy_is_rounded_ties_away_from_zero() -> None:
    assert converted_fen(Fraction("0.5"), Fraction("0.01")) == 1
    assert converted_fen(Fraction("-0.5"), Fraction("0.01"), 10) == 9
