"""A site of a hundred points, judged every evening and compared with what is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from random import Random

from daemon.quality.acceptance import closing, refusal
from daemon.quality.facts import Decision, Facts, Installation, Ratio, with_fact
from daemon.quality.judge import judge
from daemon.quality.verdict import DayState, Verdict
from tests.simulation.stories import STORIES, honest, swap_addresses
from tests.simulation.truth import (
    DAYS,
    DECIMALS,
    FIRST,
    SimulatedPoint,
    count_energy,
    day_of,
    honest_point,
)

HONEST_DAYS = 3
REACH_DAYS = 7
SETTLED_DAYS = 10
CLOSING_DAY = 8


@dataclass
class Told:
    """What was found; every mistake in words."""

    counts: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)

    def add(self, other: Told) -> None:
        self.counts += other.counts
        self.mistakes += other.mistakes


def simulate(seed: int, points: int = 100) -> Told:
    """All points of a site over 90 days."""
    told = Told()
    for point in site(seed, points):
        told.add(live(point))
    return told


def site(seed: int, points: int) -> list[SimulatedPoint]:
    """A third of the points has a story."""
    random = Random(seed)
    found: list[SimulatedPoint] = []
    while len(found) < points:
        name = f"seed {seed} point {len(found)}"
        own = Random(random.getrandbits(64))
        draw = own.random()
        if draw < 0.65:
            found.append(_told(name, "honest", own))
        elif draw < 0.67 and len(found) + 1 < points:
            pair = [honest_point(f"{name}/{n}", "swap_addresses", own) for n in (0, 1)]
            swap_addresses(*pair)
            found += pair
        else:
            found.append(_told(name, own.choice(sorted(STORIES)), own))
    for point in found:
        count_energy(point)
    return found


def _told(name: str, story: str, random: Random) -> SimulatedPoint:
    point = honest_point(name, story, random)
    (STORIES | {"honest": honest})[story](point)
    return point


def live(point: SimulatedPoint) -> Told:
    """Day by day: facts come, suspects are read again, a person decides, months are closed."""
    life = _Life(point)
    for now in range(DAYS + 8):
        life.day(now)
    life.end()
    return life.told


class _Life:
    def __init__(self, point: SimulatedPoint) -> None:
        assert point.installation is not None
        self.point = point
        self.told = Told()
        self.told.counts[f"points {point.story}"] = 1
        self._facts = Facts(point.zone, (point.installation,))
        self._verdict = Verdict({}, (), ())
        self._read: dict[int, int] = {}
        """Day -> evening of its first read."""
        self._again: set[int] = set()
        self._number = 0
        self._odd = point.odd_days()
        self._is_open = False

    def day(self, now: int) -> None:
        arrived = self._arrivals(now)
        if not arrived or not self._is_told(now):
            return
        self._verdict = judge(self._facts)
        self._read_again(now)
        self._person(now)
        self._close(now)
        self._check(now)
        self._is_open = any(
            state.next_step is not None or "V33" in state.codes
            for day, state in self._verdict.days.items()
            if now - (day - FIRST).days <= SETTLED_DAYS
        )

    def _is_told(self, now: int) -> bool:
        """An evening on which nothing is odd, and nothing was for long, is told by a later one."""
        is_near = any(0 <= now - odd <= SETTLED_DAYS for odd in self._odd)
        is_closed = self._odd and day_of(now).day == CLOSING_DAY
        return bool(is_near or self._is_open or is_closed)

    def _arrivals(self, now: int) -> int:
        arriving = self.point.arriving(now)
        for place, (number, answer) in enumerate(arriving):
            read = self.point.read(number, answer, now, 0.1 + place / 1000)
            self._facts = with_fact(self._facts, read)
            self._read.setdefault(number, now)
        for fact in self.point.facts.get(now, []):
            if isinstance(fact, Installation | Ratio):
                reason = refusal(self._facts, fact)
                if reason is not None:
                    self._wrong(now, f"a true document is refused: {reason}")
                    continue
            self._facts = with_fact(self._facts, fact)
        return len(arriving) + len(self.point.facts.get(now, []))

    def _read_again(self, now: int) -> None:
        """What is suspect or disputed is asked again after an hour."""
        asked = [
            number
            for day, state in self._verdict.days.items()
            if (number := (day - FIRST).days) not in self._again
            and (state.next_step == "reread" or "V33" in state.codes)
            and now - number <= 60
        ]
        for number in asked:
            self._again.add(number)
            answer = self.point.told_again(number)
            read = self.point.read(number, answer, now, 1.5 + number / 1000)
            self._facts = with_fact(self._facts, read)
        if asked:
            self._verdict = judge(self._facts)

    def _person(self, now: int) -> None:
        """Some tasks are done after a while, rightly."""
        for day, state in list(self._verdict.days.items()):
            number = (day - FIRST).days
            is_due = state.next_step == "person" and state.state == "suspect"
            if not is_due or now - number < 4 or (number * 7 + now) % 5:
                continue
            action = "release" if self._is_true(number, state) else "reject"
            self._number += 1
            decision = Decision(
                "release" if action == "release" else "reject", day, state.total, self._number
            )
            if refusal(self._facts, decision) is None:
                self.told.counts[f"person: {action}"] += 1
                self._facts = with_fact(self._facts, decision)
                self._verdict = judge(self._facts)
                return  # one an evening

    def _close(self, now: int) -> None:
        """Some days after the end of a month what is settled of the last one is closed."""
        if day_of(now).day != CLOSING_DAY:
            return
        through = date(day_of(now).year, day_of(now).month, 1)
        is_disputed = any(
            state.state != "published" or "V33" in state.codes
            for day, state in self._verdict.days.items()
            if day >= through
        )
        lately = [number for number in self._read if number > (through - FIRST).days]
        if not is_disputed and len(lately) > HONEST_DAYS:
            self._facts = with_fact(self._facts, closing(self._facts, through))
            self._verdict = judge(self._facts)

    # --- what has to be so every evening ----------------------------------------------------------

    def _check(self, now: int) -> None:
        for day, state in self._verdict.days.items():
            number = (day - FIRST).days
            is_named = state.state in ("published", "substituted") or state.next_step is not None
            if not is_named:
                self._wrong(now, f"{day} is {state.state} and has no next step")
            if state.state == "published" and not self._is_true(number, state):
                self._untrue(now, number, state)
        shown = {(day - FIRST).days for day in self._verdict.days}
        for number in self._read:
            if number >= self.point.first_day and number not in shown:
                self._wrong(now, f"{day_of(number)} was read and is not shown")

    def _untrue(self, now: int, number: int, state: DayState) -> None:
        steps = int(state.total.scaleb(DECIMALS))
        honest_days = [
            it
            for it in self._read
            if it > number and self._read[it] >= self._read[number] and self._answer_is_true(it)
        ]
        wrong_days = len(_wrong_run(self.point, number))
        if why := undetectable(self.point, number, steps, self._read):
            self.told.counts[f"untrue and published for now: {why}"] += 1
        elif len(honest_days) > 2 * wrong_days:
            self._wrong(now, f"{day_of(number)} shows {state.total} after {len(honest_days)} days")
        elif len(honest_days) >= HONEST_DAYS:
            self.told.counts["untrue and published after three honest days: read twice"] += 1

    def _is_true(self, number: int, state: DayState) -> bool:
        return int(state.total.scaleb(DECIMALS)) == self.point.registers[number]

    def _answer_is_true(self, number: int) -> bool:
        return self.point.answers[number].is_true

    # --- what has to be so at the end -------------------------------------------------------------

    def end(self) -> None:
        point = self.point
        self._verdict = judge(self._facts)
        for day, state in self._verdict.days.items():
            number = (day - FIRST).days
            self.told.counts[f"days {state.state}"] += 1
            if state.state == "published" and not self._is_true(number, state):
                steps = int(state.total.scaleb(DECIMALS))
                why = undetectable(point, number, steps, self._read)
                if why:
                    self.told.counts[f"untrue at the end: {why}"] += 1
                else:
                    self._wrong(DAYS, f"{day} is untrue: {state.total}")
            if state.state == "suspect" and self._is_true(number, state):
                self.told.counts[f"true and withheld: {point.story} {','.join(state.codes)}"] += 1
        self._links(self._verdict)

    def _links(self, verdict: Verdict) -> None:
        """Every link that is billed by itself is the energy that was used, if its ends are true."""
        for link in verdict.links:
            if link.kwh is None or link.held is not None:
                continue
            ends = (self._energy(link.start), self._energy(link.end))
            if None in ends:
                continue
            start, end = ends
            assert start is not None
            assert end is not None
            self.told.counts["links compared"] += 1
            if link.kwh != Decimal(end - start).scaleb(-DECIMALS):
                self._wrong(DAYS, f"link {link} is {end - start} steps")

    def _energy(self, at: date | datetime) -> int | None:
        """The use since day 0; None where the chain's value is not true."""
        point = self.point
        if isinstance(at, datetime):
            number = (at.astimezone(point.zone).date() - FIRST).days
            lately = point.energy_at[at.timestamp()]
            return point.energy[number] + lately * point.ratios[number]
        number = (at - FIRST).days
        is_true = self._is_true(number, self._verdict.days[at])
        return point.energy[number] if is_true else None

    def _wrong(self, now: int, words: str) -> None:
        self.told.mistakes.append(f"{self.point.name} {self.point.story} day {now}: {words}")


def undetectable(point: SimulatedPoint, number: int, steps: int, read: Iterable[int]) -> str | None:
    """Why no rule that knows only registers can tell that this value is wrong; None: it can.

    A value is told by what lies beside it. It cannot be told when it lies between the true register
    before it and one of those of the next three honest days; nor when what stood against it was
    out of reach: the rule reaches seven days and asks one honest value more than there are wrong
    ones."""
    true_days = sorted(it for it in read if point.answers[it].is_true)
    before = [it for it in true_days if it < number]
    behind = [it for it in true_days if it > number][:HONEST_DAYS]
    if len(behind) < HONEST_DAYS:
        return "too few honest days behind it"
    start = point.registers[before[-1]] if before else None
    follows = start is None or (steps - start) % point.modulus < point.modulus // 2
    passed = any(
        (point.registers[it] - steps) % point.modulus < point.modulus // 2 for it in behind
    )
    if follows and passed:
        return "between true registers"
    wrong = _wrong_run(point, number)
    if before and behind[-1] - before[-1] > REACH_DAYS:
        return "out of reach"
    if len(wrong) >= HONEST_DAYS:
        return "as many wrong days as honest ones"
    return None


def _wrong_run(point: SimulatedPoint, number: int) -> list[int]:
    """The days around it without an honest one between."""
    run = [number]
    for step in (-1, 1):
        at = number + step
        while at in point.answers and not point.answers[at].is_true:
            run.append(at)
            at += step
    return run
