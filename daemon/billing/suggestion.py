"""How long the money lasts, what to pay in, and when to warn (R53). Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from daemon.billing.rounding import nearest_fen

DAYS_OF_AVERAGE = 30


@dataclass(frozen=True, slots=True)
class SuggestionTerms:
    """What is suggested: the cost of a cycle with a margin, in steps, at least `min_fen`."""

    cycle_days: int
    margin: Fraction
    round_up_to_fen: int
    min_fen: int


def average_fen(
    daily_costs_fen: Sequence[int | None], same_month_last_year: Fraction | None = None
) -> Fraction:
    """The usual cost of a day: the mean of the last 30 published days, exactly.

    Oldest first; None is a day that does not count, substituted or disconnected. With the mean of
    the same month last year the larger of both; 0 where nothing is known."""
    counted = [cost for cost in daily_costs_fen if cost is not None][-DAYS_OF_AVERAGE:]
    recent = Fraction(sum(counted), len(counted)) if counted else Fraction(0)
    return recent if same_month_last_year is None else max(recent, same_month_last_year)


def usual_day_fen(charged_fen: int, since: date | None, through: date | None) -> Fraction:
    """What a billed day costs, of what was charged for the days from one to the other.

    0 where that is not known."""
    if since is None or through is None or through <= since:
        return Fraction(0)
    return Fraction(charged_fen, (through - since).days)


def suggested_fen(average: Fraction, balance_fen: int, terms: SuggestionTerms) -> int:
    """What to pay in; 0 where the balance suffices for the cycle."""
    need = average * terms.cycle_days * (1 + terms.margin) - balance_fen
    if need <= 0:
        return 0
    stepped_fen = math.ceil(need / terms.round_up_to_fen) * terms.round_up_to_fen
    return max(stepped_fen, terms.min_fen)


def days_left(average: Fraction, balance_fen: int, trip_threshold_fen: int) -> int | None:
    """Whole days until the trip threshold, negative below it; None without use."""
    if average <= 0:
        return None
    return (balance_fen - trip_threshold_fen) * average.denominator // average.numerator


def warning_threshold_fen(average: Fraction, warn_min_fen: int, warn_days: int) -> int:
    """The balance below which the customer is warned; a balance equal to it is not."""
    return max(warn_min_fen, nearest_fen(average * warn_days))
