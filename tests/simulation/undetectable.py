"""Why no rule that knows only registers can tell that a value is wrong."""

from __future__ import annotations

from collections.abc import Iterable

from tests.simulation.truth import SimulatedPoint

REACH_DAYS = 7


def undetectable(
    point: SimulatedPoint, number: int, steps: int, read: Iterable[int], needed: int
) -> str | None:
    """The reason, or None: the next `needed` honest days tell it.

    A value is told by what lies beside it. It cannot be told when it lies between the true register
    before it and one of those behind it; nor when they are out of reach: the rule passes over a
    value only within seven days."""
    true_days = sorted(it for it in read if point.answers[it].is_true)
    before = [it for it in true_days if it < number]
    behind = [it for it in true_days if it > number][:needed]
    start = point.registers[before[-1]] if before else None
    follows = start is None or (steps - start) % point.modulus < point.modulus // 2
    passed = [(point.registers[it] - steps) % point.modulus < point.modulus // 2 for it in behind]
    if follows and passed[:1] == [True]:
        return "it lies between the true registers beside it"
    if follows and any(passed):
        return "fewer than three of the next true registers lie below it"
    if before and behind and behind[-1] - before[-1] > REACH_DAYS:
        return "the true values beside it lie more than seven days apart"
    return None


def wrong_run(point: SimulatedPoint, number: int) -> list[int]:
    """The days around it without an honest one between."""
    run = [number]
    for step in (-1, 1):
        at = number + step
        while at in point.answers and not point.answers[at].is_true:
            run.append(at)
            at += step
    return run
