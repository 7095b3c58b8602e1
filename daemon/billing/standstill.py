"""Why a point is not billed to yesterday, in words: billed or named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from daemon.quality.gap import KEPT_DAYS

Owner = Literal["office", "operator", "field", "daemon"]


@dataclass(frozen=True, slots=True)
class Standstill:
    """A reason, who has to act, and what comes next.

    `next_step` is formatted with the row that is told, of whose fields it may name any, as
    {0.point}. Of what is withheld or held it only leads there: what settles that is asked of
    `quality.tasks`.
    `is_wanted`: somebody decided that it is so; it degrades nothing."""

    text: str
    owner: Owner
    next_step: str
    is_wanted: bool = False


REASONS: Final[Mapping[str, Standstill]] = {
    "no_meter": Standstill(
        "no meter serves the point", "office", "name one in meters.csv, then meterd reload"
    ),
    "no_account": Standstill(
        "billed to nobody",
        "office",
        "meterd point assign {0.point} ACCOUNT --from DAY --reason WHY",
        is_wanted=True,
    ),
    "account_pending": Standstill(
        "the account is not open",
        "office",
        "meterd account open {0.account} --from DAY --agreement REFERENCE",
        is_wanted=True,
    ),
    "no_tariff": Standstill(
        "the account's tariff has no price on its first day",
        "office",
        "a version in the tariffs file, then meterd reload",
    ),
    "not_judged": Standstill(
        "what was read could not be judged",
        "operator",
        "mend what it says; it is tried every 5 minutes",
    ),
    "not_settled": Standstill(
        "the account could not be settled",
        "office",
        "mend what it says; it is tried every 5 minutes",
    ),
    "held": Standstill(
        "use that is not billed by itself",
        "operator",
        "meterd quality show {0.point} {0.held_to}",
    ),
    "no_rates": Standstill(
        "the price needs rates that the value of the first or the last day does not tell",
        "operator",
        "nothing if the next freeze tells them; else for {0.held_to}, or {0.held_from} if that has "
        "none: what was read (meterd readings {0.point}) is taken back, meterd quality withdraw "
        "{0.point} {0.held_to} TOTAL --reason WHY --actor YOU; then it is said with its rates: "
        "meterd quality substitute {0.point} {0.held_to} --method S2 --total TOTAL --rates RATES "
        "--evidence WHAT --reason WHY --actor YOU",
    ),
    "no_opening_freeze": Standstill(
        "the opening freeze is missing",
        "daemon",
        "meterd collect {0.point} --day {0.day}; if the meter has none: meterd quality substitute "
        "{0.point} {0.day} --method S2 --total TOTAL --evidence WHAT --reason WHY --actor YOU",
    ),
    "withheld": Standstill("withheld", "operator", "meterd quality show {0.point} {0.day}"),
    "lost": Standstill(
        "the meter has forgotten the day",
        "operator",
        "meterd quality substitute {0.point} {0.lacks} --method S2 --total TOTAL --evidence WHAT "
        "--reason WHY --actor YOU",
    ),
    "line_disabled": Standstill(
        "the meter's line does not run",
        "field",
        "enabled = true for line {0.line}, then meterd reload",
    ),
    "missing": Standstill("no freeze", "field", "meterd gaps tells why; meterd collect {0.point}"),
    "settling": Standstill("is being settled", "daemon", "nothing: some seconds"),
}
"""In the order in which they are looked for: the first one that applies is told."""
REMEMBERED: Final = {protocol: days for protocol, days in KEPT_DAYS.items() if days}
"""By protocol how many freezes its meters keep: what is older cannot be read any more."""
WANTED: Final = frozenset(reason for reason, it in REASONS.items() if it.is_wanted)


def oldest_unwanted(counts: Mapping[str, tuple[int, int]]) -> int:
    """Age in days of the oldest point that stands still though nobody wants it to; 0 without one.

    `counts`: by reason (points, age of the oldest)."""
    return max((age for reason, (_, age) in counts.items() if reason not in WANTED), default=0)
