"""The life of one point: facts come, it is judged, suspects are read again, a person decides."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from daemon.quality.acceptance import closing, refusal, with_seen
from daemon.quality.candidates import CLOCK_SOFT_S
from daemon.quality.facts import (
    Action,
    ClockFinding,
    Decision,
    Fact,
    Facts,
    Finding,
    Installation,
    Limit,
    Ratio,
    with_fact,
)
from daemon.quality.fleet import MISSING
from daemon.quality.gap import Causes, Lacking, gaps_of
from daemon.quality.judge import judge
from daemon.quality.local_time import summer_time_s
from daemon.quality.uses import uses_of
from daemon.quality.verdict import DayState, Verdict
from daemon.quality.window import OWN_CHECKS
from tests.simulation.told import HONEST_DAYS, Told
from tests.simulation.truth import (
    DAYS,
    DECIMALS,
    FIRST,
    Answer,
    SimulatedPoint,
    day_of,
    midnight_utc,
)
from tests.simulation.undetectable import undetectable, wrong_together

LOOK_BACK_DAYS = 40
"""More than a total has to stand still for a remark (V10)."""
LATELY_DAYS = 7
"""A value that comes later than that may change remarks of days before those that are looked at."""
CLOSING_DAY = 8
MEMORY_DAYS = 60
"""So far back a meter is asked again."""
NO_CAUSES = Causes(tries={}, outages={}, wrong_clocks=set())


class Life:
    """What the judge was told of a point until now, and what it said last."""

    def __init__(self, point: SimulatedPoint) -> None:
        assert point.installation is not None
        self.point = point
        self.told = Told()
        self.told.counts[f"points {point.story}"] = 1
        self.told.counts["wrong values read"] = sum(
            not it.is_true for answers in point.arriving().values() for _, it in answers
        )
        self.max_daily = point.limit
        self._arriving = point.arriving()
        self._facts = Facts(point.zone, (point.installation,))
        self._begun = self._run_first_day()
        self.states: dict[date, DayState] = {}
        self._new_facts: list[Fact] = []
        self._read: dict[int, int] = {}
        """Day -> evening of its first read."""
        self._arrived: list[tuple[int, Answer]] = []
        """Today."""
        self._other_facts = False
        """Whether anything else came today."""
        self._again: set[int] = set()
        self._decisions = 0
        self._is_open = False
        self._settled_until = date.min
        """The last value that a closing named: what is open before it stays so."""
        self._published = 0
        """Bit n is day n."""
        self._shown: dict[int, int] = {}
        """Day -> steps of what is published."""
        self._named = 0
        """Not published, and with a next step."""
        self._found_whole: tuple[int, int, int] | None = None
        """What was owed, published and named when that was compared last."""
        self._untrue: set[int] = set()
        """Published, and not true."""
        self._stood: dict[tuple[int, int], tuple[str, int]] = {}
        """By day and wrong value: why it stands, and the most honest days behind it."""

    # --- what comes -------------------------------------------------------------------------------

    def arrive(self, now: int) -> bool:
        """Whether anything came."""
        self._arrived = self._arriving.get(now, [])
        others = self.point.facts.get(now, [])
        self._other_facts = bool(others)
        for place, (number, answer) in enumerate(self._arrived):
            self._add_read(number, answer, now, 0.1 + place / 1000)
        for fact in others:
            if isinstance(fact, Limit):
                self.max_daily = int(fact.max_daily.scaleb(DECIMALS))
            if isinstance(fact, Installation | Ratio):
                reason = refusal(self._facts, fact)
                if reason is not None:
                    self._wrong(now, f"a true document is refused: {reason}")
                    continue
            self._add(fact)
        return bool(self._arrived or others)

    def is_quiet(self, now: int) -> bool:
        """Whether arrays can show all there is to know: nothing is open, and nothing odd came."""
        if self._is_open or self._other_facts or not self.is_known:
            return False
        of_this_run = self._published >> self._begun
        lowest = self._begun + (of_this_run & -of_this_run).bit_length() - 1
        return of_this_run > 0 and all(
            number > max(lowest, now - LATELY_DAYS)
            and day_of(number) not in self.states
            and not self._is_odd(number, answer, now)
            for number, answer in self._arrived
        )

    def _is_odd(self, number: int, answer: Answer, now: int) -> bool:
        """Whether an answer fails a check that arrays do not make."""
        day = day_of(number)
        found: list[ClockFinding | Finding] = [*self._facts.clock_findings, *self._facts.findings]
        if any(it.first <= day <= it.last for it in found):
            return True
        skew_s = answer.skew_s or 0
        if skew_s and self._keeps_standard_time:
            skew_s += summer_time_s(self.point.zone, midnight_utc(self.point.zone, now))
        return abs(skew_s) > CLOCK_SOFT_S or (answer.stamp, answer.serial) != (None, None)

    @property
    def is_known(self) -> bool:
        """Whether anything is published."""
        return self._published > 0

    @property
    def _keeps_standard_time(self) -> bool:
        return any(it.clock == "standard" for it in self._facts.clock_settings)

    def steps_near(self, now: int) -> list[int]:
        """Day by day up to `now` what is published by this register, and what came today."""
        arrived = {number: answer.steps for number, answer in self._arrived}
        shown = self._shown
        begun = self._begun
        return [
            arrived.get(number, shown.get(number, MISSING) if number >= begun else MISSING)
            for number in range(now - LOOK_BACK_DAYS, now + 1)
        ]

    def read_again(self, now: int) -> None:
        """What is suspect, or disputed, or looks like a break, is asked for again."""
        if not self._is_open:
            return
        asked = [
            number
            for day, state in self.states.items()
            if (number := (day - FIRST).days) not in self._again
            and now - number <= MEMORY_DAYS
            and (state.next_step == "reread" or not {"V33", "V36"}.isdisjoint(state.codes))
        ]
        for number in asked:
            self._again.add(number)
            self._add_read(number, self.point.told_again(number), now, 1.5 + number / 1000)
        if asked:
            self.judge(now)

    def person(self, now: int) -> None:
        """Some tasks are done after a while, rightly; one an evening."""
        if not self._named:
            return
        for day, state in list(self.states.items()):
            number = (day - FIRST).days
            is_due = state.next_step == "person" and state.state == "suspect"
            if not is_due or now - number < 4 or (number * 7 + now) % 5:
                continue
            self._decisions += 1
            action: Action = "release" if self._is_true(number, state) else "reject"
            decision = Decision(action, day, state.total, self._decisions)
            if refusal(self._facts, decision) is None:
                if action == "release":
                    decision = with_seen(self._facts, decision)
                self.told.counts[f"person: {action}"] += 1
                self._add(decision)
                self.judge(now)
                return

    def close(self, now: int) -> None:
        """Some days after the end of a month what is settled of the last one is closed."""
        if day_of(now).day != CLOSING_DAY or self.point.story == "honest":
            return
        through = day_of(now).replace(day=1)
        is_disputed = any(
            state.state != "published" or "V33" in state.codes
            for day, state in self.states.items()
            if day >= through
        )
        lately = [number for number in self._read if number > (through - FIRST).days]
        if not is_disputed and len(lately) > HONEST_DAYS:
            named = closing(self._facts, through)
            self._add(named)
            self._settled_until = max((day for day, _ in named.published), default=date.min)
            self.judge(now)

    def take_facts(self) -> list[Fact]:
        """What came since this was asked last."""
        taken = self._new_facts
        self._new_facts = []
        return taken

    def _add(self, fact: Fact) -> None:
        self._facts = with_fact(self._facts, fact)
        self._new_facts.append(fact)
        if isinstance(fact, Installation):
            self._begun = self._run_first_day()

    def _add_read(self, number: int, answer: Answer, now: int, hour: float) -> None:
        self._add(self.point.read(number, answer, now, hour))
        self._read.setdefault(number, now)

    def _run_first_day(self) -> int:
        """The first day of the register that serves now, as far as documents say."""
        begun = max(it.at for it in self._facts.installations)
        local = begun.astimezone(self.point.zone)
        return (local.date() - FIRST).days + (local.time() > datetime.min.time())

    # --- what is said of it -----------------------------------------------------------------------

    def publish_arrived(self, now: int, unchanged: set[int]) -> None:
        """Arrays have proved that it is clean."""
        for number, answer in self._arrived:
            total = Decimal(answer.steps).scaleb(-DECIMALS)
            codes = ("V10",) if number in unchanged else ()
            state = DayState("published", total, codes)
            self.states[day_of(number)] = state
            self._note_published(number, answer.steps)

    def judge(self, now: int) -> Verdict:
        """All facts, from the first."""
        verdict = judge(self._facts)
        self.states = dict(verdict.days)
        self._published = 0
        self._shown.clear()
        self._named = 0
        self._untrue.clear()
        for day, state in verdict.days.items():
            number = (day - FIRST).days
            if state.state in ("published", "substituted"):
                self._note_published(number, int(state.total.scaleb(DECIMALS)))
            elif state.next_step is not None:
                self._named |= 1 << number
            else:
                self._wrong(now, f"{day} is {state.state} and has no next step")
        self._is_open = any(
            _is_open(state) for day, state in verdict.days.items() if day > self._settled_until
        )
        for number in self._read:
            if number >= self.point.first_day and day_of(number) not in verdict.days:
                self._wrong(now, f"{day_of(number)} was read and is not shown")
        self._is_billed(now, verdict)
        return verdict

    def _is_billed(self, now: int, verdict: Verdict) -> None:
        """Each published day but the first ends a use, billed or held for a reason."""
        uses = uses_of(verdict, self.point.zone)
        published = [day for day, it in verdict.days.items() if it.state == "published"]
        for day in published[1:]:
            if day not in uses:
                self._wrong(now, f"{day} is published and no use ends with it")

    def _note_published(self, number: int, steps: int) -> None:
        self._published |= 1 << number
        self._shown[number] = steps
        if steps != self.point.registers[number]:
            self._untrue.add(number)
            self._stood.setdefault((number, steps), ("not for a day", 0))

    def look_at_untrue(self, now: int) -> None:
        """What is published and wrong, when the second reads of what came that night are there."""
        for number in self._untrue:
            steps = self._shown[number]
            honest = [
                it
                for it, at in self._read.items()
                if it > number and at >= self._read[number] and self.point.answers[it].is_true
            ]
            wrong = wrong_together(self.point, number)
            needed = max(HONEST_DAYS, len(wrong) + 1)
            why = undetectable(self.point, number, steps, self._read, needed)
            if why is None and sum(it > wrong[-1] for it in honest) >= needed:
                self._wrong(now, f"{day_of(number)} shows {steps} after {len(honest)} days")
            reason = why or f"{len(wrong)} wrong days together need {needed} behind the last"
            self._stood[number, steps] = (reason, len(honest))

    def owes_nothing(self, now: int, hour: int, newest: int) -> None:
        """Each owed day is published, or withheld with a next step, or a gap that is listed."""
        asked = (newest, self._published, self._named)
        if asked != self._found_whole:
            self._found_whole = asked
            count = newest - self.point.first_day + 1
            owed = (1 << max(0, count)) - 1
            if owed & ~(self._published >> self.point.first_day):
                self._gaps(now, hour, count)

    def _gaps(self, now: int, hour: int, count: int) -> None:
        first = self.point.first_day
        published = _newest_first(self._published >> first, count)
        withheld = _newest_first(self._named >> first, count)
        point = Lacking(
            point_id=1,
            point=self.point.name,
            meter_id=1,
            address="1",
            line="line",
            protocol="dlt645-2007",
            first_day=day_of(first),
            newest=day_of(first + count - 1),
            published=published,
            withheld=withheld,
        )
        listed = {"missing": 0, "lost": 0, "withheld": 0}
        for gap in gaps_of([point], NO_CAUSES):
            listed[gap.state] += gap.days
        unread = sum(it not in self._read for it in range(first, first + count))
        is_whole = published.bit_count() + sum(listed.values()) == count
        if not is_whole or listed["missing"] + listed["lost"] != unread:
            self._wrong(now, f"hour {hour}: a day is neither billed nor named")

    def _is_true(self, number: int, state: DayState) -> bool:
        return int(state.total.scaleb(DECIMALS)) == self.point.registers[number]

    # --- what has to be so at the end -------------------------------------------------------------

    def end(self) -> None:
        """All facts once more, from which nothing may differ; every link is what was used."""
        shown = self.states
        verdict = self.judge(DAYS)
        self.look_at_untrue(DAYS)
        if verdict.days != shown:
            self._wrong(DAYS, "arrays say something else than all facts")
        for day, state in verdict.days.items():
            self.told.counts[f"days {state.state}"] += 1
            if state.state == "suspect" and self._is_true((day - FIRST).days, state):
                codes = ",".join(state.codes)
                self.told.counts[f"true and withheld: {self.point.story} {codes}"] += 1
        for number in self._untrue:
            reason, _ = self._stood[number, self._shown[number]]
            self.told.counts[f"untrue at the end: {reason}"] += 1
        self.told.stood.update(self._stood.values())
        self._links(verdict)

    def _links(self, verdict: Verdict) -> None:
        """Every link that is billed by itself is the energy that was used, if its ends are true."""
        for link in verdict.links:
            if link.kwh is None or link.held is not None:
                continue
            start = self._energy(link.start)
            end = self._energy(link.end)
            if start is None or end is None:
                continue
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
        is_true = self._is_true(number, self.states[at])
        return point.energy[number] if is_true else None

    def _wrong(self, now: int, words: str) -> None:
        self.told.mistakes.append(f"{self.point.name} {self.point.story} day {now}: {words}")


def _is_open(state: DayState) -> bool:
    """Whether a value that is not published may yet be, or one that is may yet not be."""
    if not {"V33", "V34"}.isdisjoint(state.codes):
        return True
    return state.state == "suspect" and OWN_CHECKS.isdisjoint(state.codes)


def _newest_first(bits: int, count: int) -> int:
    """Bit n is day n of `count`; of the result the day n before the last."""
    low = bits & ((1 << count) - 1)
    return int(format(low, f"0{count}b")[::-1], 2)
