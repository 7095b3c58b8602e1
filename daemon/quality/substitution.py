"""Which values persons may put where no reading is, and who has to agree (quality.md section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final, Literal

from daemon.quality.facts import Decision, Facts, with_fact
from daemon.quality.judge import judge
from daemon.quality.verdict import Verdict

METHODS: Final[Mapping[str, str]] = {
    "S1": "the same slot from another source",
    "S2": "a photo or a hand-held read at that time",
    "S3": "a current reading less what the load profile says since midnight",
    "S4": "between two published neighbours, to split a span",
    "S5": "from history, by contract or when reading was prevented",
    "S6": "agreed upon",
}
Refusal = Literal[
    "has_reading", "reading_waits", "no_neighbours", "no_basis", "does_not_fit", "not_a_register"
]


def approvals_needed(action: str, method: str | None = None) -> int:
    """How many other persons have to agree before a decision counts (R13).

    What a meter told is one person's to judge; what no meter told is not."""
    if method == "S6":
        return 2
    return 1 if action in ("substitute", "release_link") else 0


def fits_current(total: int, current: int, modulus: int) -> bool:
    """Whether a register that shows `current` can have shown `total` that midnight (S3).

    In steps of the register, which may have turned over: more than half a turn in less than a day
    is told apart from backward."""
    advance = (current - total) % modulus
    return 2 * advance < modulus


def refused_substitute(facts: Facts, substitute: Decision, *, has_basis: bool) -> Refusal | None:
    """Why a substitute is none; None if it stands.

    `has_basis`: a contract allows S5, or the customer prevented the reading."""
    before = judge(facts)
    shown = before.days.get(substitute.day)
    if shown is not None and shown.state == "published":
        return "has_reading"
    if shown is not None and "V32" in shown.codes:
        return "reading_waits"
    if substitute.method == "S5" and not has_basis:
        return "no_basis"
    is_between = _has_neighbours(before, substitute.day, both=True)
    if substitute.method == "S4" and not is_between:
        return "no_neighbours"
    if substitute.method == "S5" and not _has_neighbours(before, substitute.day, both=False):
        return "no_neighbours"
    after = judge(with_fact(facts, substitute)).days.get(substitute.day)
    if after is None or after.state != "substituted":
        is_no_register = after is not None and "V06" in after.codes
        return "not_a_register" if is_no_register else "does_not_fit"
    return None


def _has_neighbours(verdict: Verdict, day: date, *, both: bool) -> bool:
    """Whether a published day lies before, and where that is asked for one behind."""
    published = [it for it, state in verdict.days.items() if state.state == "published"]
    is_behind = any(it > day for it in published)
    return any(it < day for it in published) and (is_behind or not both)
