"""Codes that only the whole chain shows (judgement.md 6): V10, V33, V36, V37. By value's number."""

from __future__ import annotations

from typing import Final

import numpy as np

from daemon.quality.chain import exceeds_days
from daemon.quality.judged_run import JudgedRun
from daemon.quality.local_time import DAY_S

UNCHANGED_DAYS: Final = 30
NEW_SOURCE_VALUES: Final = 2
"""So many values of a source that replaced another are marked."""
VALUES_AGAINST: Final = 3
"""So many values of the chain behind one end the dispute about it; so many make a break."""


def unchanged(judged: JudgedRun) -> set[int]:
    """V10: the total has stood still in the chain for 30 days."""
    marked = set()
    since = None
    for number in judged.chain:
        value = judged.values[number]
        if since is None or since.steps[0] != value.steps[0]:
            since = value
        if value.wall_s - since.wall_s >= UNCHANGED_DAYS * DAY_S:
            marked.add(number)
    return marked


def disputed(judged: JudgedRun) -> set[int]:
    """V33: published, and a later value says otherwise that may yet outvote it."""
    chain = list(judged.chain)
    steps = judged.steps
    votes = judged.votes
    could_vote = votes.eligible & votes.is_sole & ~votes.late
    marked = set()
    for place in range(max(0, len(chain) - VALUES_AGAINST), len(chain)):
        against = np.flatnonzero(steps.behind[chain[place]] & could_vote)
        if any(_follows_near(judged, chain[:place], int(it)) for it in against):
            marked.add(chain[place])
    return marked


def _follows_near(judged: JudgedRun, chain: list[int], number: int) -> bool:
    value = judged.values[number]
    return any(
        judged.steps.good[it, number]
        and not exceeds_days(judged.values[it], value, judged.max_auto_span_days)
        for it in chain
    )


def breaks(judged: JudgedRun) -> set[int]:
    """V36: behind the chain's end three or more values follow one another without fitting it."""
    if not judged.chain:
        return set()
    votes = judged.votes
    end = judged.chain[-1]
    does_not_fit = judged.steps.precedes[end] & ~judged.steps.good[end]
    others = np.flatnonzero((votes.eligible | votes.against_person) & does_not_fit)
    good = judged.steps.good[np.ix_(others, others)]
    after_one = good.any(axis=0)
    after_two = good[after_one].any(axis=0)
    before_one = good.any(axis=1)
    before_two = good[:, before_one].any(axis=1)
    in_three = after_two | (after_one & before_one) | before_two
    return set(others[in_three].tolist())


def new_source(judged: JudgedRun) -> set[int]:
    """V37: the first and the second value of a source that replaced another."""
    marked = set()
    source = None
    count = NEW_SOURCE_VALUES  # the first source of a run replaced none
    for number in judged.chain:
        candidate = judged.values[number].candidate
        if candidate is None:
            continue
        if source is not None and candidate.source != source:
            count = 0
        source = candidate.source
        if count < NEW_SOURCE_VALUES:
            marked.add(number)
        count += 1
    return marked
