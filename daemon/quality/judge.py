"""The judgement of one point, as a pure function of its facts (judgement.md)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from daemon.quality.candidates import Candidate, candidates_of, stamps_of
from daemon.quality.capacity import Capacity
from daemon.quality.chain import choose_chain
from daemon.quality.facts import Facts, Read
from daemon.quality.in_force import InForce, in_force
from daemon.quality.judged_run import JudgedRun
from daemon.quality.links import chain_of, links_beside, links_of
from daemon.quality.runs import Run, run_of_day, runs_of
from daemon.quality.states import states_of
from daemon.quality.steps import Steps
from daemon.quality.values import Value, values_of
from daemon.quality.verdict import DayState, Verdict
from daemon.quality.votes import votes_of

RULE_SET: Final = 1
"""Stored with each verdict; raised when the rules change, so that what they said is judged anew."""


def judge(facts: Facts) -> Verdict:
    """What the facts say, whatever the order in which they came."""
    counting = in_force(facts)
    runs = judged_runs(facts)
    days: dict[date, DayState] = {}
    standing: list[list[Value]] = []
    for judged in runs:
        held = counting.substitutes.items()
        substitutes = {day: decision for day, decision in held if judged.run.holds(day)}
        states, told = states_of(judged, substitutes, facts.refused, counting)
        days |= states
        standing.append(told)
    chain = chain_of(runs)
    links = links_of(runs, counting)
    return Verdict(
        days=dict(sorted(days.items())),
        chain=chain,
        links=links,
        is_too_short=any(it.is_too_short for it in runs),
        beside=links_beside(runs, standing, counting, chain, links),
        max_auto_span_days=facts.max_auto_span_days,
        link_releases=facts.link_releases,
    )


def judged_runs(facts: Facts) -> list[JudgedRun]:
    """The runs with their chains, for who asks more than what a verdict tells."""
    counting = in_force(facts)
    runs = runs_of(facts.zone, counting.clock, facts.installations)
    candidates = _candidates(facts, counting, runs)
    return [_judged(run, candidates[run], counting, facts) for run in runs]


def _candidates(
    facts: Facts, counting: InForce, runs: Sequence[Run]
) -> Mapping[Run, Mapping[date, Sequence[Candidate]]]:
    by_day: dict[date, list[Read]] = defaultdict(list)
    for read in facts.reads:
        by_day[read.day].append(read)
    stamps = stamps_of(facts.reads)
    found: dict[Run, dict[date, Sequence[Candidate]]] = {run: {} for run in runs}
    for day, reads in sorted(by_day.items()):
        run = run_of_day(runs, day)
        if run is not None:
            found[run][day] = candidates_of(run, day, reads, counting, stamps)
    return found


def _judged(
    run: Run,
    candidates: Mapping[date, Sequence[Candidate]],
    counting: InForce,
    facts: Facts,
) -> JudgedRun:
    values = values_of(run, candidates, counting.ratios, facts.begins_on)
    steps = Steps(values, Capacity(run, values, counting), run.modulus)
    votes = votes_of(values, steps)
    pinned = _pinned(values, facts.begins_on)
    span_days = facts.max_auto_span_days
    chain = choose_chain(values, steps, votes, span_days, pinned)
    return JudgedRun(run, candidates, values, steps, votes, chain, span_days, pinned)


def _pinned(values: Sequence[Value], begins_on: date | None) -> int | None:
    """The number of the value with which a window begins."""
    on_that_day = [n for n, it in enumerate(values) if it.candidate and it.day == begins_on]
    return on_that_day[0] if on_that_day else None
