"""A person who knows what is true and types what the program offers: which steps that person may
take, and what is billed then."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from daemon.acquisition.planning.rereads import MOST_READS
from daemon.quality import tasks
from daemon.quality.acceptance import refusal, with_seen
from daemon.quality.facts import Decision, Facts, Installation, Limit, Read, Registers, with_fact
from daemon.quality.judge import judge
from daemon.quality.substitution import refused_substitute
from daemon.quality.tasks import Beside, Doubtful, Shown, Step, task_of
from daemon.quality.uses import Use, uses_of
from daemon.quality.verdict import DayState, Verdict

SHOWS = ("published", "substituted")
RELEASED = "release-link"


@dataclass
class Truth:
    """What is so. Registers in kWh, by day; `energy` since the first day, over an exchange too.

    `told_again`: what a day is answered with when it is asked for once more. `exchange`: what
    happened and was not told. `limit`: what the point can use in a day."""

    registers: Mapping[date, Decimal]
    energy: Mapping[date, Decimal]
    told_again: Mapping[date, Decimal]
    limit: Decimal
    exchange: Installation | None = None


Billed = tuple[date, date, Decimal]


@dataclass
class Site:
    """One point, what is known of it, and the links that were released."""

    facts: Facts
    truth: Truth
    released: set[tuple[date, date]] = field(default_factory=set)
    asked: Counter[date] = field(default_factory=Counter)
    _judged: tuple[Facts, Verdict] | None = None

    @property
    def verdict(self) -> Verdict:
        if self._judged is None or self._judged[0] is not self.facts:
            self._judged = self.facts, judge(self.facts)
        return self._judged[1]

    def doubtful(self) -> list[Doubtful]:
        """What is to be said of days, as the statement of `quality list` puts it together."""
        verdict = self.verdict
        uses = self._uses(verdict)
        return [
            doubtful
            for day, state in verdict.days.items()
            for doubtful in self._of_day(verdict, day, state, uses.get(day))
        ]

    def _of_day(
        self, verdict: Verdict, day: date, state: DayState, use: Use | None
    ) -> Iterator[Doubtful]:
        row = Doubtful(
            point="P1",
            first_day=day,
            last_day=day,
            state=state.state,
            total=f"{state.total:f}",
            codes=state.codes,
            next_step=state.next_step,
            before=self._beside(verdict, day, -1),
            behind=self._beside(verdict, day, 1),
            confirmed=self._confirmed(day),
        )
        hold = None if use is None else use.hold
        if use is not None and hold is not None:
            start = day - timedelta(days=use.days)
            if (start, day) not in self.released:
                shown = verdict.days.get(start)
                before = None
                if shown is not None:
                    before = Beside(start, f"{shown.total:f}", shown.state == "substituted")
                yield replace(row, hold=hold, held_from=start, before=before)
        elif state.state in ("suspect", "rejected") or "V33" in state.codes:
            yield row

    def _confirmed(self, day: date) -> Shown | None:
        said = [it for it in self.facts.decisions if it.action == "release"]
        near = min(said, key=lambda it: (abs(it.day - day), -it.number), default=None)
        return None if near is None else (near.day, f"{near.total:f}")

    def _beside(self, verdict: Verdict, day: date, towards: int) -> Beside | None:
        """The nearest day of the same meter that shows a value in that direction; before it also
        an only value."""
        found = [
            (on, state)
            for on, state in verdict.days.items()
            if (on - day).days * towards > 0
            and self._meter(on) == self._meter(day)
            and (_stands(state) if towards < 0 else state.state in SHOWS)
        ]
        if not found:
            return None
        on, state = min(found, key=lambda it: abs(it[0] - day))
        return Beside(on, f"{state.total:f}", state.state == "substituted")

    def _meter(self, day: date) -> int:
        """How many meters had begun by the midnight of a day."""
        return sum(it.at.date() <= day for it in self.facts.installations)

    def _uses(self, verdict: Verdict) -> dict[date, Use]:
        return uses_of(verdict, self.facts.zone)

    # --- what is billed ---------------------------------------------------------------------------

    def false_days(self) -> set[tuple[date, Decimal]]:
        """What is published and was never shown by the meter."""
        return {
            (day, state.total)
            for day, state in self.verdict.days.items()
            if state.state in SHOWS and state.total != self.truth.registers[day]
        }

    def false_links(self) -> set[Billed]:
        """What is billed and was never used."""
        verdict = self.verdict
        found = set()
        for day, use in self._uses(verdict).items():
            start = day - timedelta(days=use.days)
            if not use.days or (use.hold is not None and (start, day) not in self.released):
                continue
            kwh = use.kwh
            if kwh is None:
                kwh = verdict.days[day].total - verdict.days[start].total
                kwh = (kwh + self._modulus) % self._modulus
            if kwh != self.truth.energy[day] - self.truth.energy[start]:
                found.add((start, day, kwh))
        return found

    @property
    def _modulus(self) -> Decimal:
        return self.facts.installations[0].modulus

    # --- what is typed ----------------------------------------------------------------------------

    def may(self, step: Step) -> bool:
        """Whether what the step asks for is so."""
        right = all(self._is_true(it) for it in step.right) and not self._is_untold(step.right)
        wrong = step.wrong is None or not self._is_true(step.wrong)
        return right and wrong and self._is_so(step)

    def _is_true(self, shown: Shown) -> bool:
        day, total = shown
        return self.truth.registers[day] == Decimal(total)

    def _is_untold(self, ends: tuple[Shown, ...]) -> bool:
        """Whether the meter was exchanged between these days, and nobody told."""
        exchange = self.truth.exchange
        if exchange is None or exchange in self.facts.installations or not ends:
            return False
        day = exchange.at.date()
        return ends[0][0] < day <= ends[-1][0]

    def _is_so(self, step: Step) -> bool:
        exchange = self.truth.exchange
        match step.when:
            case "":
                return True
            case "it is too small":
                return max(it.max_daily for it in self.facts.limits) < self.truth.limit
            case tasks.EXCHANGED | tasks.BEGAN_ANEW:
                return exchange is not None and self._is_right_before(exchange.at.date())
            case "a register of an exchange is wrong, tell it again for the same moment":
                return False
            case "the register turned over":
                (first, _), (last, _) = step.right[0], step.right[-1]
                return self.truth.registers[last] < self.truth.registers[first]
        raise AssertionError(f"who knows whether {step.when!r}?")

    def _is_right_before(self, day: date) -> bool:
        """Whether all that is shown of the old meter is so: its use goes on from there to the final
        register, which no limit stops, and what is withheld may be believed by it."""
        return all(
            self.truth.registers[on] == it.total
            for on, it in self.verdict.days.items()
            if on < day and it.state != "rejected"
        )

    def obey(self, step: Step) -> bool:
        """Type it. Whether it was taken, and is not what was typed already."""
        words = shlex.split(step.command)
        match words[1:]:
            case ["collect", _, "--day", day]:
                return self._read_again(date.fromisoformat(day))
            case ["collect", *_] | ["quality", "show", *_] | ["document", "list", *_]:
                return False
            case ["quality", "release-link", _, start, end, *_]:
                self.released.add((date.fromisoformat(start), date.fromisoformat(end)))
                return True
            case ["quality", "substitute", _, on, *_]:
                return self._decide("substitute", on, self.truth.registers[date.fromisoformat(on)])
            case ["quality", "release" | "reject" | "withdraw" as action, _, on, total, *_]:
                return self._decide(action, on, Decimal(total), turned="--rolled-over" in words)
            case ["meter", "exchange", *_] if self.truth.exchange is not None:
                return self._tell(self.truth.exchange)
        if re.match("max_daily_kwh of P1", step.command):
            return self._raise_limit()
        raise AssertionError(f"what does {step.command!r} do?")

    def _decide(self, action: str, on: str, total: Decimal, *, turned: bool = False) -> bool:
        number = len(self.facts.decisions) + 1
        day = date.fromisoformat(on)
        decision = Decision(action, day, total, number, turned, method="S2")  # type: ignore[arg-type]
        refused: str | None = refusal(self.facts, decision)
        if refused is None and action == "substitute":
            refused = refused_substitute(self.facts, decision, has_basis=False)
        if refused is None:
            if action == "release":
                decision = with_seen(self.facts, decision)
            self.facts = with_fact(self.facts, decision)
        return refused is None

    def _tell(self, document: Installation) -> bool:
        if document in self.facts.installations or refusal(self.facts, document) is not None:
            return False
        self.facts = with_fact(self.facts, document)
        return True

    def _raise_limit(self) -> bool:
        first = min(it.day for it in self.facts.limits)
        raised = Limit(first, self.truth.limit, rev=1)
        if raised in self.facts.limits:
            return False
        self.facts = with_fact(self.facts, raised)
        return True

    def _read_again(self, day: date) -> bool:
        if self.asked[day] == MOST_READS - 1 or day not in self.truth.told_again:
            return False
        self.asked[day] += 1
        midnight = datetime.combine(day, datetime.min.time(), UTC)
        read_at = midnight + timedelta(hours=4 + self.asked[day])
        self.facts = with_fact(
            self.facts, Read(day, Registers(self.truth.told_again[day]), read_at)
        )
        return True


def _stands(state: DayState) -> bool:
    """Whether a use may begin with it: an only value is confirmed by what follows."""
    return state.state in SHOWS or state.next_step == "wait"


def steps_of(site: Site) -> list[tuple[Doubtful, Step]]:
    """Everything that is offered now."""
    return [(it, step) for it in site.doubtful() for step in task_of(it).steps]
