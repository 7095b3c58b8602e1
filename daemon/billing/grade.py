"""Credit grades: how long use is trusted, and how early is warned (R63, R70)."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, NamedTuple

from daemon.billing.rounding import nearest_fen

Grade = Literal["A", "B", "C", "D"]


class GradeTerms(NamedTuple):
    """`credit_days` of usual cost lower the floor; warned is `warn_days` before the end."""

    credit_days: int
    warn_days: int


GRADES: dict[Grade, GradeTerms] = {
    "A": GradeTerms(credit_days=7, warn_days=3),
    "B": GradeTerms(credit_days=3, warn_days=5),
    "C": GradeTerms(credit_days=0, warn_days=7),
    "D": GradeTerms(credit_days=0, warn_days=10),
}


def credit_limit_fen(grade: Grade, average_fen: Fraction) -> int:
    """How far the balance may lie below the trip threshold, by the usual cost of a day."""
    return nearest_fen(max(average_fen, Fraction(0)) * GRADES[grade].credit_days)
