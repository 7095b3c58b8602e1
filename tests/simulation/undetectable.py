"""Why no rule that knows only registers can tell that a value is wrong."""

from __future__ import annotations

from collections.abc import Collection

from tests.simulation.truth import DAYS, SimulatedPoint

REACH_DAYS = 7
VOTES = 3


def undetectable(
    point: SimulatedPoint, number: int, steps: int, read: Collection[int], needed: int
) -> str | None:
    """The reason, or None: the next `needed` honest days tell it.

    A value is told by what lies beside it. It cannot be told when it lies between the true register
    before it and one of those behind it; nor when they are out of reach: the rule passes over a
    value only within seven days. Nor when wrong ones outvote the true one before them, as true ones
    would; and a wrong one that cannot be told keeps those beside it, for of equal weights the
    earlier day counts."""
    own = _by_itself(point, number, steps, read, needed)
    if own is not None:
        return own
    for other in wrong_together(point, number):
        if other != number and _by_itself(point, other, point.answers[other].steps, read, needed):
            return "a wrong one beside it cannot be told"
    return None


def _by_itself(
    point: SimulatedPoint, number: int, steps: int, read: Collection[int], needed: int
) -> str | None:
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
    wrong = len(wrong_together(point, number))
    earlier = [it for it in before[:-1] if number - it <= REACH_DAYS]
    follows_one = any(
        (steps - point.registers[it]) % point.modulus < point.modulus // 2 for it in earlier
    )
    if wrong >= VOTES and follows_one and any(passed):
        return "three wrong days outvote the true one before them"
    if before and behind and behind[-1] - before[-1] > REACH_DAYS:
        return "the true values beside it lie more than seven days apart"
    return None


def wrong_together(point: SimulatedPoint, number: int) -> list[int]:
    """The wrong days around it that stand together, in order.

    Three honest days stand against a wrong one only where no other wrong one lies among them."""
    together = [number]
    for step in (-1, 1):
        at = number
        honest = 0
        while honest < VOTES and 0 <= (at := at + step) < DAYS:
            answer = point.answers.get(at)
            if answer is None:
                continue
            honest = honest + 1 if answer.is_true else 0
            if not answer.is_true:
                together.append(at)
    return sorted(together)
