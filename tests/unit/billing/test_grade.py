"""The grade says how far a balance may fall: R70, A with average 4.00 a day has a floor of -28.00."""

from fractions import Fraction

import pytest

from daemon.billing.grade import GRADES, Grade, credit_limit_fen


@pytest.mark.parametrize(("grade", "limit_fen"), [("A", 2_800), ("B", 1_200), ("C", 0), ("D", 0)])
def test_the_limit_is_days_of_usual_cost(grade: Grade, limit_fen: int) -> None:
    assert credit_limit_fen(grade, Fraction(400)) == limit_fen


def test_a_limit_is_rounded_once_and_never_negative() -> None:
    assert credit_limit_fen("A", Fraction(1001, 14)) == 501
    assert credit_limit_fen("A", Fraction(-400)) == 0


def test_worse_grades_are_warned_earlier() -> None:
    assert [GRADES[grade].warn_days for grade in ("A", "B", "C", "D")] == [3, 5, 7, 10]
