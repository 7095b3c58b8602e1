"""V26: a month-end freeze against the finished chain. It never votes."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from daemon.quality.verdict import Verdict


def fits_month_end(verdict: Verdict, day: date, total: Decimal, modulus: Decimal) -> bool:
    """Whether it equals the day's freeze, or without one lies between its neighbours.

    What fits may serve as substitute S1. `modulus` in kWh, as `total`; a register may turn over."""
    freezes = [(it.at, it.total) for it in verdict.chain if not isinstance(it.at, datetime)]
    same = [known for on, known in freezes if on == day]
    if same:
        return total == same[0]
    before = [known for on, known in freezes if on < day][-1:]
    behind = [known for on, known in freezes if on > day][:1]
    if before and behind:
        whole = _advance(before[0], behind[0], modulus)
        return _advance(before[0], total, modulus) <= whole
    # Beyond an end of the chain less than half a turn is told apart from backward.
    ends = [(known, total) for known in before] + [(total, known) for known in behind]
    return all(2 * _advance(earlier, later, modulus) < modulus for earlier, later in ends)


def _advance(earlier: Decimal, later: Decimal, modulus: Decimal) -> Decimal:
    """A Decimal's remainder has the sign of what is divided, so % would not turn over."""
    return later - earlier if later >= earlier else later - earlier + modulus
