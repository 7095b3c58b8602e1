"""Which commands of persons become facts (judgement.md 4.2), what a release was said of, and what a
closing names."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Literal

from daemon.quality.candidates import Candidate
from daemon.quality.facts import (
    Closing,
    Decision,
    Facts,
    Installation,
    Ratio,
    SeenUse,
    with_fact,
)
from daemon.quality.judge import judge, judged_runs
from daemon.quality.judged_run import JudgedRun
from daemon.quality.values import Value

Refusal = Literal[
    "no_such_value",
    "not_this_day",
    "contradicts_published",
    "backward_needs_document",
    "final_below_published",
    "closed_period",
]


def refusal(facts: Facts, command: Decision | Installation | Ratio) -> Refusal | None:
    """Why a command is no fact; None if it is one.

    Looks at the verdict of this moment: what is published shall not be overturned by a side
    door."""
    if isinstance(command, Decision):
        if command.action == "substitute":
            return None
        if command.action == "release":
            return _refused_release(facts, command)
        return _refused_withdrawal(facts, command)
    return _refused_document(facts, command)


def with_seen(facts: Facts, release: Decision) -> Decision:
    """A release with the use up to its value, as it is when that is released: who says it sees
    that."""
    links = judge(with_fact(facts, release)).links
    seen = [
        SeenUse(it.start, it.kwh) for it in links if it.end == release.day and it.kwh is not None
    ]
    return replace(release, seen=next(iter(seen), None))


def closing(facts: Facts, through: date) -> Closing:
    """The closing of the period that ends with `through`: it names what is published in it."""
    return Closing(
        through,
        tuple(
            (value.day, value.candidate.registers)
            for value in _published(judged_runs(facts))
            if value.candidate is not None and value.day <= through
        ),
    )


def _refused_release(facts: Facts, command: Decision) -> Refusal | None:
    if not _was_read(facts, command):
        return "no_such_value"
    after = judged_runs(with_fact(facts, command))
    run, found = _candidates(after, command)
    if run is None or not any(it.is_of_this_day for it in found):
        return "not_this_day"
    standing = [n for n, it in enumerate(run.values) if it.candidate in found and it.is_confirmed]
    if not standing:
        return "closed_period"  # the closing named another value of this day
    number = standing[0]
    released = run.values[number]
    published = _numbers(run, _published(judged_runs(facts)))
    behind = [n for n in published if run.values[n].place > released.place]
    before = [n for n in published if run.values[n].place < released.place]
    if behind and run.steps.backward[number, behind[0]]:
        return "contradicts_published"
    if before and run.steps.backward[before[-1], number]:
        return "backward_needs_document"
    return None


def _refused_withdrawal(facts: Facts, command: Decision) -> Refusal | None:
    is_substitute = any(
        it.action == "substitute" and (it.day, it.total) == (command.day, command.total)
        for it in facts.decisions
    )
    if not is_substitute and not _was_read(facts, command):
        return "no_such_value"
    is_closed = any(command.day <= it.through for it in facts.closings)
    return "closed_period" if is_closed else None


def _refused_document(facts: Facts, document: Installation | Ratio) -> Refusal | None:
    published = _published(judged_runs(facts))
    after = judged_runs(with_fact(facts, document))
    if isinstance(document, Installation) and document.old_final is not None:
        run = next((it for it in after if it.run.ended == document), None)
        if run is not None:
            before = _numbers(run, published)
            final = len(run.values) - 1
            if any(run.steps.backward[n, final] for n in before[-1:] if n != final):
                return "final_below_published"
    named = {value for it in facts.closings for value in it.published}
    kept = {_key(value) for value in _published(after)}
    was_overturned = any(_key(it) in named and _key(it) not in kept for it in published)
    return "closed_period" if was_overturned else None


def _was_read(facts: Facts, command: Decision) -> bool:
    return any(
        read.day == command.day and read.registers.total == command.total for read in facts.reads
    )


def _candidates(
    runs: list[JudgedRun], command: Decision
) -> tuple[JudgedRun | None, list[Candidate]]:
    for run in runs:
        if command.day in run.candidates:
            return run, [
                it for it in run.candidates[command.day] if it.registers.total == command.total
            ]
    return None, []


def _published(runs: list[JudgedRun]) -> list[Value]:
    return [run.values[n] for run in runs if run.is_published for n in run.chain]


def _numbers(run: JudgedRun, values: list[Value]) -> list[int]:
    """Those of the values that the run has too, by its numbers."""
    wanted = {(value.place, value.steps) for value in values}
    return [n for n, it in enumerate(run.values) if (it.place, it.steps) in wanted]


def _key(value: Value) -> tuple[object, object]:
    return (value.day, value.candidate.registers if value.candidate is not None else None)
