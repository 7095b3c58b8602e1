"""Validation rules: which freeze may be published. Pure; the neighbours are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal

from daemon.quality.freeze import CLOCK_LIMIT
from daemon.quality.register import ChainPoint, Register, register_delta


def failing_rules(
    new: ChainPoint,
    rates: Sequence[int],
    register: Register,
    *,
    before: ChainPoint | None,
    after: ChainPoint | None,
    clock_skew: timedelta | None,
) -> list[str]:
    """The hard rules that this freeze breaks, each as `Vnn name`; empty when it may be published.

    `before` and `after` are its published neighbours in time, `rates` the tariff registers (may be
    empty). The codes are those of the validation rules V01-V30; R11: what breaks one is kept and
    withheld, never repaired."""
    failing = set(_broken_links(new, register, before, after))
    if clock_skew is not None and abs(clock_skew) > CLOCK_LIMIT:
        failing.add("V05 clock")
    if not 0 <= new.total < register.modulus:
        failing.add("V06 range")
    # Each register is truncated by itself, so the sum may differ by a step for each rate.
    if rates and abs(new.total - sum(rates)) > len(rates):
        failing.add("V11 tou_sum")
    return sorted(failing)


def _broken_links(
    new: ChainPoint,
    register: Register,
    before: ChainPoint | None,
    after: ChainPoint | None,
) -> Iterator[str]:
    for earlier, later in ((before, new), (new, after)):
        if earlier is None or later is None:
            continue
        # Both sides: a late value may be right after what was before, and wrong before what came.
        days = Decimal((later.day - earlier.day).days)
        status, _ = register_delta(earlier.total, later.total, days, register)
        if status == "suspect:backward":
            yield "V07 backward" if later is new else "V27 monotone"
        elif status == "suspect:spike":
            yield "V08 spike"
