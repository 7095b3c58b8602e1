"""What each day of a run shows: state, codes, next step (judgement.md 6 and 7.3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from decimal import Decimal
from typing import Final

from daemon.quality import marks
from daemon.quality.candidates import NOT_THIS_DAY, Candidate
from daemon.quality.capacity import Capacity
from daemon.quality.facts import Decision
from daemon.quality.in_force import InForce
from daemon.quality.judged_run import JudgedRun
from daemon.quality.steps import Steps
from daemon.quality.values import Value, substitute_of
from daemon.quality.verdict import DayState, NextStep

FOR_A_PERSON: Final = frozenset({"V35", "V36", "V38"})
BEGIN: Final = (-1, 0)
END: Final = (1 << 62, 0)


def states_of(
    judged: JudgedRun,
    substitutes: Mapping[date, Decision],
    refused: Collection[date],
    facts: InForce,
) -> tuple[dict[date, DayState], list[Value]]:
    """By day, days without a value are not in it; the substitutes that stand."""
    page = _Page(judged, refused, facts)
    # What was said first stands against what was said later.
    told = sorted(substitutes.values(), key=lambda it: it.number)
    states = {
        it.day: page.substituted(it)
        for it in told
        if it.day >= judged.first_day and it.day not in page.chosen
    }
    for day in judged.candidates.keys() - states.keys():
        if day >= judged.first_day:
            chosen = page.chosen.get(day)
            states[day] = page.withheld(day) if chosen is None else page.in_chain(chosen)
    return dict(sorted(states.items())), page.standing


class _Page:
    """The days of one run, with what is worked out once for all of them."""

    def __init__(self, judged: JudgedRun, refused: Collection[date], facts: InForce) -> None:
        self._judged = judged
        self._refused = refused
        self._facts = facts
        self._breaks = marks.breaks(judged)
        self._is_published = judged.is_published
        self._soft = {
            "V10": marks.unchanged(judged),
            "V33": marks.disputed(judged),
            "V37": marks.new_source(judged),
        }
        values = judged.values
        self.standing: list[Value] = []
        """The substitutes that stand, in the order in which they were said."""
        self.chosen = {values[n].day: n for n in judged.chain if values[n].candidate is not None}
        self._numbers = {
            (value.day, value.candidate.registers): number
            for number, value in enumerate(values)
            if value.candidate is not None
        }

    def in_chain(self, number: int) -> DayState:
        """A chosen value: published, or V32 while it is the only one."""
        candidate = self._judged.values[number].candidate
        assert candidate is not None
        codes = self._soft_codes(candidate)
        total = self._shown(candidate)
        if not self._is_published:
            return DayState("suspect", total, _sorted({"V32", *codes}), "wait")
        codes |= {code for code, marked in self._soft.items() if number in marked}
        return DayState("published", total, _sorted(codes))

    def substituted(self, decision: Decision) -> DayState:
        """A substitute: it stands while neither the published chain nor one that stands already
        disproves it (4.3)."""
        run = self._judged.run
        steps = run.steps(decision.registers)
        if steps is None or not 0 <= steps[0] < run.modulus:
            shown = run.kwh(steps[0] if steps is not None else 0)
            return DayState("suspect", shown, ("V06",), "person")
        substitute = substitute_of(run, decision.day, decision.registers, steps)
        codes = self._disproved(substitute)
        shown = run.kwh(steps[0])
        if codes:
            return DayState("suspect", shown, _sorted(codes), "person")
        self.standing.append(substitute)
        return DayState("substituted", shown)

    def _disproved(self, substitute: Value) -> set[str]:
        """The codes by which its neighbours say that a substitute cannot be: those of the published
        chain, and the substitutes between these."""
        judged, place = self._judged, substitute.place
        ends = (judged.before(place), judged.behind(place)) if judged.is_published else ()
        chain = [judged.values[n] for n in ends if n is not None]
        first = min((it.place for it in chain if it.place < place), default=BEGIN)
        last = max((it.place for it in chain if it.place > place), default=END)
        near = [*chain, *(it for it in self.standing if first < it.place < last)]
        codes = set()
        if any(self._is_backward(it, substitute) for it in near if it.place < place):
            codes.add("V07")
        if any(self._is_backward(substitute, it) for it in near if it.place > place):
            codes.add("V27")
        return codes

    def _is_backward(self, earlier: Value, later: Value) -> bool:
        run = self._judged.run
        pair = (earlier, later)
        steps = Steps(pair, Capacity(run, pair, self._facts), run.modulus)
        return bool(steps.backward[0, 1])

    def withheld(self, day: date) -> DayState:
        """A day of which no value was chosen."""
        candidates = self._judged.candidates[day]
        standing = [it for it in candidates if not it.is_rejected]
        if not standing:
            shown = min(candidates, key=lambda it: it.preference)
            step: NextStep = "person" if self._was_read_again(shown) else "recollect"
            return DayState("rejected", self._shown(shown), (), step)
        shown = min(standing, key=lambda it: it.preference)
        hard = set(shown.failed) or self._against_neighbours(shown)
        codes = hard | self._soft_codes(shown)
        return DayState("suspect", self._shown(shown), _sorted(codes), self._next(shown, hard))

    def _against_neighbours(self, candidate: Candidate) -> set[str]:
        """Why a sound value is not in the chain."""
        judged = self._judged
        number = self._numbers[candidate.day, candidate.registers]
        place = judged.values[number].place
        before = judged.before(place)
        behind = judged.behind(place)
        codes = set()
        if before is None or judged.steps.good[before, number]:
            codes.add("V31")
        elif judged.steps.backward[before, number]:
            codes.add("V07")
        else:
            codes.add("V08")
        if behind is not None and judged.steps.backward[number, behind]:
            codes.add("V27")
        if behind is not None and judged.steps.spike[number, behind]:
            codes.add("V08")
        if judged.votes.against_person[number]:
            codes.add("V35")
        if number in self._breaks:
            codes.add("V36")
        return codes

    def _soft_codes(self, shown: Candidate) -> set[str]:
        codes = self._facts.codes(shown.day)
        if shown.is_clock_doubtful:
            codes.add("V05")
        same_day = self._judged.candidates[shown.day]
        others = [it for it in same_day if it is not shown] if len(same_day) > 1 else []
        if any(it.is_of_this_day and not it.is_rejected for it in others):
            codes.add("V34")
        return codes

    def _next(self, shown: Candidate, hard: set[str]) -> NextStep:
        if hard & NOT_THIS_DAY:
            return "recollect"
        needs_person = bool(hard & FOR_A_PERSON) or "V05" in hard
        return "person" if needs_person or self._was_read_again(shown) else "reread"

    def _was_read_again(self, shown: Candidate) -> bool:
        """Whether a second read was equal, or the meter refused it."""
        return shown.reads > 1 or shown.day in self._refused

    def _shown(self, candidate: Candidate) -> Decimal:
        return self._judged.run.kwh(candidate.steps[0])


def _sorted(codes: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(codes))
