"""judgement.md once more, as slowly as it reads: written from the text alone, for cases of kind
`judge`. Nothing of daemon.quality is used. Energy is exact fractions of kWh."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import combinations, pairwise
from typing import Any
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
Registers = dict[str, Decimal]
Instant = date | datetime


def registers_of(told: Mapping[str, str]) -> Registers:
    return {name: Decimal(text) for name, text in told.items()}


def registers_or_none(told: Mapping[str, str] | None) -> Registers | None:
    return registers_of(told) if told else None


@dataclass(frozen=True, eq=False)
class Read:
    day: date
    registers: Registers
    at: datetime
    source: str
    stamp: datetime
    serial: str | None
    skew_s: int | None
    offset_s: int

    def is_the_same(self, other: Read) -> bool:
        mine, its = ((it.day, it.source, it.at, it.registers) for it in (self, other))
        return mine == its


@dataclass(frozen=True, eq=False)
class Run:
    """What lies between two exchanges."""

    at: datetime
    serial: str
    modulus: Fraction
    decimals: int
    wire_decimals: int
    initial: Registers | None
    old_final: Registers | None
    ended: Run | None = None


@dataclass(frozen=True, eq=False)
class Ratio:
    at: datetime
    ratio: Fraction
    rev: int
    register: Registers | None


@dataclass(eq=False)
class Value:
    """Of a day, or of a document where `day` is None."""

    day: date | None
    at: datetime
    registers: Registers
    reads: Sequence[Read] = ()
    is_confirmed: bool = False
    rolled_over: bool = False

    @property
    def total(self) -> Decimal:
        return self.registers["total"]

    @property
    def place(self) -> tuple[datetime, bool]:
        """A document of a midnight stands before the freeze."""
        return (self.at, self.day is not None)

    @property
    def read_at(self) -> datetime:
        return self.reads[0].at

    @property
    def shown_at(self) -> Instant:
        return self.at if self.day is None else self.day

    def rank(self) -> tuple[object, ...]:
        read_at = self.read_at if self.reads else datetime.min.replace(tzinfo=UTC)
        return (*self.place, read_at, sorted(self.registers.items()))


@dataclass(eq=False)
class Candidate:
    """Equal registers of a day; its reads in order of time."""

    value: Value
    run: Run
    not_this_day: set[str]
    failed: set[str]
    soft: set[str]
    decided: str | None

    @property
    def takes_part(self) -> bool:
        is_out = self.decided in ("reject", "withdraw")
        return not (self.not_this_day or self.failed or is_out)

    @property
    def is_conflict(self) -> bool:
        return not self.not_this_day and self.decided != "reject"


@dataclass
class Shown:
    state: str
    total: Decimal
    codes: set[str]
    decimals: int
    next_step: str | None = None
    is_read: bool = True

    def told(self) -> dict[str, Any]:
        is_whole = self.total == round(self.total, self.decimals)
        value = self.total if is_whole else Decimal(0)
        found = {"state": self.state, "value": f"{value:.{self.decimals}f}"}
        known = {"next": self.next_step} if self.next_step else {}
        return {**found, "codes": sorted(self.codes), **known}


@dataclass
class Judged:
    """A verdict, and of each run by its beginning what it was drawn from."""

    days: dict[date, Shown] = field(default_factory=dict)
    candidates: dict[date, list[Candidate]] = field(default_factory=dict)
    chains: dict[datetime, list[Value]] = field(default_factory=dict)
    links: list[tuple[Instant, Instant, Fraction | None, str | None]] = field(default_factory=list)


class Choice:
    """Sections 3 to 5 for the values of one run, in order."""

    def __init__(self, rule: Rule, run: Run, values: Sequence[Value]) -> None:
        self.rule = rule
        self.run = run
        self.values = values
        self._steps: dict[tuple[Value, Value, bool], str] = {}
        self.against: set[Value] = set()
        self.eligible = [it for it in values if self._is_eligible(it)]
        self.late = {it for it in self.eligible if self._is_late(it)}
        self.outvoted = {it for it in self.eligible if self._is_outvoted(it)}
        self.chain = self._chain()

    # --- section 3 ---

    def step(self, u: Value, v: Value, *, has_limit: bool = False) -> str:
        key = (u, v, has_limit)
        if key not in self._steps:
            self._steps[key] = self._step(u, v, has_limit=has_limit)
        return self._steps[key]

    def _step(self, u: Value, v: Value, *, has_limit: bool) -> str:
        modulus = self.run.modulus
        most = self.rule.limit_between(self.run, u, v)
        found = set()
        for name in common(u, v):
            delta = Fraction(v.registers[name]) - Fraction(u.registers[name])
            turned = delta + modulus
            if delta >= 0:
                is_free = v.is_confirmed and not has_limit
                is_good = is_free or (delta <= most and delta < modulus / 4)
                found.add("good" if is_good else "spike")
            else:
                is_good = v.rolled_over or (turned <= most and turned < modulus / 4)
                found.add("good" if is_good else "backward")
        return next(it for it in ("backward", "spike", "good") if it in found)

    def is_good(self, u: Value, v: Value) -> bool:
        return u.place < v.place and self.step(u, v) == "good"

    # --- section 4 ---

    def _is_eligible(self, value: Value) -> bool:
        confirmed = [it for it in self.values if it.is_confirmed]
        if value in confirmed:
            return True
        if any(it.day == value.day for it in confirmed):
            self.against.add(value)
            return False
        pairs = [(it, value) for it in confirmed if it.place < value.place][-1:]
        pairs += [(value, it) for it in confirmed if value.place < it.place][:1]
        wrong = [pair for pair in pairs if not self._leads(*pair)]
        if any(self.step(*pair) == "backward" for pair in wrong):
            self.against.add(value)
        return not wrong

    def _leads(self, u: Value, v: Value) -> bool:
        """By what lies between, where the register may have moved a quarter turn."""
        if self.is_good(u, v):
            return True
        if self.rule.limit_between(self.run, u, v) < self.run.modulus / 4:
            return False
        between = [it for it in self.values if u.place < it.place < v.place]
        return any(self.is_good(u, it) and self._leads(it, v) for it in between)

    # --- section 5 ---

    def is_behind(self, x: Value, a: Value) -> bool:
        if x.place <= a.place or self.is_good(a, x):
            return False
        turns = (Fraction(a.registers[it]) - Fraction(x.registers[it]) for it in common(a, x))
        return any(0 < it % self.run.modulus < self.run.modulus / 2 for it in turns)

    def has_rival(self, a: Value) -> bool:
        return any(it is not a and it.day == a.day for it in self.eligible if a.day)

    def _is_late(self, a: Value) -> bool:
        behind = (it for it in self.eligible if it.reads and self.is_behind(it, a) and a.reads)
        return any(it.read_at < a.read_at for it in behind if it.day != a.day)

    def _is_outvoted(self, a: Value, *, at_start: bool = False) -> bool:
        if a in self.late or self.has_rival(a):
            return True
        votes = [it for it in self.eligible if it.at > a.at and self.is_behind(it, a)]
        before = [it for it in self.eligible if self.is_good(it, a)]
        return any(
            self.is_good(p, q) and self.is_good(q, r)
            for p, q, r in combinations(votes, 3)
            if at_start or any(self.is_good(it, p) for it in before)
        )

    def _weight(self, a: Value) -> int:
        if not a.reads:
            return 0
        return (1 if a in self.late else 3) * (2 if len(a.reads) > 1 else 1)

    def _is_permitted(self, u: Value, v: Value) -> bool:
        both = u.is_confirmed and v.is_confirmed
        if u.place >= v.place or not (both or self.is_good(u, v)):
            return False
        skipped = [it for it in self.eligible if u.place < it.place < v.place]
        followed = [it for it in skipped if self.is_good(u, it)]
        if any(it.is_confirmed for it in skipped) or not self.outvoted.issuperset(followed):
            return False
        return not followed or not self.rule.is_long(u, v)

    def _may_start(self, start: Value) -> bool:
        passed = [it for it in self.eligible if it.place < start.place]
        if any(it.is_confirmed or not self._is_outvoted(it, at_start=True) for it in passed):
            return False
        in_time = [it for it in passed if it not in self.late]
        return not any(self.is_good(p, q) for p, q in combinations(in_time, 2))

    def _chain(self) -> list[Value]:
        """The best end that begins with each value, from the last one backwards."""
        best: dict[Value, tuple[int, list[Value]]] = {}
        for number in reversed(range(len(self.eligible))):
            u = self.eligible[number]
            behind = [it for it in self.eligible[number + 1 :] if u.place < it.place]
            ends = [best[it] for it in behind if it in best and self._is_permitted(u, it)]
            found = [(weight + self._weight(u), [u, *end]) for weight, end in ends]
            if not any(it.is_confirmed for it in behind):
                found.append((self._weight(u), [u]))
            if found:
                best[u] = min(found, key=_heaviest_first)
        begun = [found for start, found in best.items() if self._may_start(start)]
        return min(begun, key=_heaviest_first, default=(0, []))[1]

    # --- section 6 ---

    @property
    def is_published(self) -> bool:
        return len(self.chain) > 1 or any(it.is_confirmed for it in self.chain)

    def codes_beside(self, value: Value) -> set[str]:
        """What its neighbours in the chain, and others, say of one that is not published."""
        others = [it for it in self.chain if it is not value]
        before = [self.step(it, value) for it in others if it.place < value.place][-1:]
        behind = [self.step(value, it) for it in others if value.place < it.place][:1]
        found = {"V07"} if before == ["backward"] else set()
        found |= {"V27"} if behind == ["backward"] else set()
        found |= {"V08"} if "spike" in before + behind else set()
        if value in self.chain:
            return {"V32"}
        found |= {"V31"} if before in ([], ["good"]) else set()
        found |= {"V35"} if value in self.against else set()
        return found | ({"V36"} if self._is_break(value) else set())

    def is_disputed(self, a: Value) -> bool:
        if sum(it.place > a.place for it in self.chain) >= 3:
            return False
        return any(
            any(self.is_good(u, x) and not self.rule.is_long(u, x) for u in self.chain)
            for x in self.eligible
            if x.reads and x not in self.chain and x not in self.late and not self.has_rival(x)
            if self.is_behind(x, a)
        )

    def _is_break(self, value: Value) -> bool:
        if not self.chain:
            return False
        end = self.chain[-1]
        tail = [
            it
            for it in self.values
            if (it in self.eligible or it in self.against) and end.place < it.place
            if not self.is_good(end, it)
        ]
        if value not in tail:
            return False

        def length(it: Value, *, onward: bool) -> int:
            there = (x for x in tail if (self.is_good(it, x) if onward else self.is_good(x, it)))
            return 1 + max((length(x, onward=onward) for x in there), default=0)

        return length(value, onward=True) + length(value, onward=False) > 3


def _heaviest_first(found: tuple[int, list[Value]]) -> tuple[int, list[tuple[object, ...]]]:
    return (-found[0], [it.rank() for it in found[1]])


def common(u: Value, v: Value) -> list[str]:
    return [*u.registers] if set(u.registers) == set(v.registers) else ["total"]


class Rule:
    """The facts of a point, as the events of a case tell them one by one."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.zone = ZoneInfo(given["timezone"])
        self._span_days = int(given.get("max_auto_span_days", 7))
        self._settings = [{"clock": given.get("clock", "zone"), "rev": -1}]
        self._installed = [self._run(it, it["from"]) for it in given["installations"]]
        self._ratios = [self._ratio_of(it, it["from"]) for it in given["ratios"]]
        self._limits = list(given["limits"])
        self._reads: list[Read] = []
        self._refused: set[date] = set()
        self._clock_findings: list[Mapping[str, Any]] = []
        self._findings: list[Mapping[str, Any]] = []
        self._decisions: list[dict[str, Any]] = []
        self._closed: list[tuple[date, Registers]] = []
        self._closed_through = date.min
        self.verdict = self.judged()

    # --- events (sections 1, 4.2 and 9) ---

    def tell(self, event: Mapping[str, Any]) -> str | None:
        """Why it is no fact, or None."""
        refused: str | None = getattr(self, f"_{event['type']}")(event)
        self.verdict = self.judged()
        return refused

    def _value(self, event: Mapping[str, Any]) -> None:
        day = date.fromisoformat(event["day"])
        if event.get("refused"):
            self._refused.add(day)
            return
        read = Read(
            day=day,
            registers=registers_of(event["registers"]),
            at=self._moment(event["read_at"]),
            source=event.get("source", "line"),
            stamp=datetime.fromisoformat(event.get("stamp", event["day"])),
            serial=event.get("serial"),
            skew_s=event.get("skew_s"),
            offset_s=event.get("host_offset_s", 0),
        )
        if not any(read.is_the_same(it) for it in self._reads):
            self._reads.append(read)

    _second_read = _value

    def _limit(self, event: Mapping[str, Any]) -> None:
        self._limits.append(event)

    def _clock_finding(self, event: Mapping[str, Any]) -> None:
        self._clock_findings.append(event)

    def _finding(self, event: Mapping[str, Any]) -> None:
        self._findings.append(event)

    def _setting(self, event: Mapping[str, Any]) -> None:
        self._settings.append(dict(event))

    def _exchange(self, event: Mapping[str, Any]) -> str | None:
        run = self._run(event, event["at"])
        if run.old_final is not None and self._is_below_published(run):
            return "final_below_published"
        self._installed.append(run)
        return None

    def _is_below_published(self, run: Run) -> bool:
        """Whether a register of the old meter would end below one that is published."""
        before = [it for it in self._runs() if it.at <= run.at][-1:]
        final = Value(None, run.at, run.old_final or {}, is_confirmed=True)
        if not before:
            return False
        step = Choice(self, before[-1], []).step
        last = [it for it in self.verdict.chains[before[-1].at] if it.at < run.at][-1:]
        return any(
            any(it.registers[name] > final.registers[name] for name in common(it, final))
            and step(it, final) == "backward"
            for it in last
        )

    def _ratio(self, event: Mapping[str, Any]) -> None:
        self._ratios.append(self._ratio_of(event, event["at"]))

    def _close(self, event: Mapping[str, Any]) -> None:
        through = date.fromisoformat(event["through"])
        self._closed_through = max(self._closed_through, through)
        for chain in self.verdict.chains.values():
            named = ((it.day, it.registers) for it in chain if it.day is not None)
            self._closed += [(day, registers) for day, registers in named if day <= through]

    def _operator(self, event: Mapping[str, Any]) -> str | None:
        told = dict(event, day=date.fromisoformat(event["day"]), total=Decimal(event["total"]))
        key = (told["day"], told["total"])
        is_known = any((it.day, it.registers["total"]) == key for it in self._reads)
        if told["action"] != "release":
            is_known |= any((it["day"], it["total"]) == key for it in self._decisions)
        refused = None
        if told["action"] == "release":
            refused = self._refused_release(told) if is_known else "no_such_value"
        elif told["action"] != "substitute" and told["day"] <= self._closed_through:
            refused = "closed_period" if is_known else "no_such_value"
        elif told["action"] != "substitute" and not is_known:
            refused = "no_such_value"
        if refused is None:
            self._decisions.append(told)
        return refused

    def _refused_release(self, told: Mapping[str, Any]) -> str | None:
        day, total = told["day"], told["total"]
        same_day = self.verdict.candidates.get(day, [])
        meant = [it for it in same_day if it.value.total == total and not it.not_this_day]
        if not meant:
            return "not_this_day"
        if any(of == day and named["total"] != total for of, named in self._closed):
            return "closed_period"
        value, run = meant[0].value, meant[0].run
        is_backward = partial(Choice(self, run, []).step, has_limit=True)
        published = self.verdict.chains[run.at]
        # The next one: those behind it may have turned over.
        later = [it for it in published if it.place > value.place and it.day != day][:1]
        if any(is_backward(value, it) == "backward" for it in later):
            return "contradicts_published"
        before = [it for it in published if it.place < value.place and it.day != day][-1:]
        # Nor what a person said before it, however good the way from there: the two would contradict.
        chain = self.verdict.chains[run.at]
        before += [it for it in chain if it.is_confirmed and it.place < value.place][-1:]
        if not told.get("rollover") and any(is_backward(it, value) == "backward" for it in before):
            return "backward_needs_document"
        return None

    # --- facts in force ---

    def _moment(self, text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=self.zone).astimezone(UTC)

    def _run(self, told: Mapping[str, Any], at: str) -> Run:
        return Run(
            at=self._moment(at),
            serial=told["serial"],
            modulus=Fraction(told["modulus"]),
            decimals=told["decimals"],
            wire_decimals=told.get("wire_decimals", told["decimals"]),
            initial=registers_or_none(told.get("initial")),
            old_final=registers_or_none(told.get("old_final")),
        )

    def _ratio_of(self, told: Mapping[str, Any], at: str) -> Ratio:
        rev, register = told.get("rev", 0), registers_or_none(told.get("register"))
        return Ratio(self._moment(at), Fraction(told["ratio"]), rev, register)

    def _runs(self) -> list[Run]:
        in_order = sorted(self._installed, key=lambda it: it.at)
        return [
            Run(**{**vars(run), "ended": ended})
            for run, ended in zip(in_order, [*in_order[1:], None], strict=True)
        ]

    def _ratios_in_force(self) -> list[Ratio]:
        told = {it.at: it for it in sorted(self._ratios, key=lambda it: it.rev)}
        return sorted(told.values(), key=lambda it: it.at)

    @property
    def clock(self) -> str:
        newest = max(self._settings, key=lambda it: it["rev"])
        return str(newest["clock"])

    def midnight(self, day: date) -> datetime:
        local = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        if self.clock == "zone":
            return local.astimezone(UTC)
        return local.replace(tzinfo=UTC) - _standard_offset(local)

    def _local(self, at: datetime) -> datetime:
        """What the meter's clock shows."""
        local = at.astimezone(self.zone)
        if self.clock == "standard":
            local = at.astimezone(UTC) + _standard_offset(local)
        return local.replace(tzinfo=None)

    def is_long(self, u: Value, v: Value) -> bool:
        return self._local(v.at) - self._local(u.at) > self._span_days * DAY

    def _limit_of(self, day: date) -> Fraction:
        told = {it["from"]: it for it in sorted(self._limits, key=lambda it: int(it["rev"]))}
        begun = [it for it in told if date.fromisoformat(it) <= day]
        return Fraction(told[max(begun) if begun else min(told)]["max_daily_register"])

    def limit_between(self, run: Run, u: Value, v: Value) -> Fraction:
        at, most = u.at, Fraction(0)
        while at < v.at:
            day = self._local(at).date()
            end = min(v.at, self.midnight(day + DAY))
            most += self._share(day, at, end)
            at = end
        most = max(most, self._limit_of(self._local(u.at).date()) / 24)
        return most + sum(self._bound(run, it) for it in (u, v))

    def _share(self, day: date, start: datetime, end: datetime) -> Fraction:
        return self._limit_of(day) * Fraction((end - start) // timedelta(seconds=1), 86400)

    def _bound(self, run: Run, value: Value) -> Fraction:
        """What a host freeze may be wrong by, rounded up to a step."""
        if value.day is None or not value.reads:
            return Fraction(0)
        step = Fraction(1, 10**run.decimals)
        error = self._limit_of(value.day) * abs(value.reads[0].offset_s) / 86400
        return -(-error // step) * step

    # --- section 2 ---

    def _candidates(self, runs: Sequence[Run]) -> dict[date, list[Candidate]]:
        found: dict[date, list[Candidate]] = {}
        for day in sorted({it.day for it in self._reads}):
            begun = [it for it in runs if it.at <= self.midnight(day)]
            same_day = sorted((it for it in self._reads if it.day == day), key=lambda it: it.at)
            for read in same_day if begun else ():
                others = [it.value for it in found.setdefault(day, [])]
                if read.registers not in [it.registers for it in others]:
                    equal = [it for it in same_day if it.registers == read.registers]
                    found[day].append(self._candidate(begun[-1], equal))
        return found

    def _candidate(self, run: Run, reads: Sequence[Read]) -> Candidate:
        read = reads[0]
        day, total = read.day, read.registers["total"]
        told = [it for it in self._decisions if (it["day"], it["total"]) == (day, total)]
        last: Mapping[str, Any] = next(
            (it for it in reversed(told) if it["action"] != "substitute"), {}
        )
        not_this_day = self._not_this_day(run, read)
        failed, soft = self._skewed(read)
        if "V06" not in not_this_day and not _adds_up(run, read.registers):
            failed.add("V11")
        decided = last.get("action")
        is_named = (day, read.registers) in self._closed and decided not in ("reject", "withdraw")
        released = [
            it["total"] for it in self._decisions if it["action"] == "release" and it["day"] == day
        ]
        is_released = decided == "release" and released[-1] == total
        is_confirmed = (is_named or is_released) and not not_this_day
        return Candidate(
            Value(
                day,
                self.midnight(day),
                read.registers,
                reads,
                is_confirmed,
                is_confirmed and last.get("rollover", False),
            ),
            run,
            not_this_day,
            set() if is_confirmed else failed,
            soft,
            decided,
        )

    def _not_this_day(self, run: Run, read: Read) -> set[str]:
        found = {"V03"} if read.serial not in (None, run.serial) else set()
        if read.stamp.date() != read.day or read.stamp.time().isoformat() != "00:00:00":
            found.add("V04")
        found |= {"V04"} if abs(read.offset_s) > 60 else set()
        others = (it for it in self._reads if it.stamp == read.stamp and it.day != read.day)
        if "V04" in found and any(
            it.registers["total"] != read.registers["total"] for it in others
        ):
            found.add("V29")
        for kwh in read.registers.values():
            if not 0 <= kwh < run.modulus or kwh != round(kwh, run.decimals):
                found.add("V06")
        return found

    def _skewed(self, read: Read) -> tuple[set[str], set[str]]:
        covering = [it for it in self._clock_findings if _covers(it, read.day)]
        skew_s = read.skew_s
        if covering:
            skew_s = max(covering, key=lambda it: int(it["rev"]))["skew_s"]
        if skew_s is None:
            return set(), set()
        summer = read.at.astimezone(self.zone).dst() or timedelta(0)
        off_s = abs(skew_s + (summer.total_seconds() if self.clock == "standard" else 0))
        return {"V05"} if off_s > 300 else set(), {"V05"} if 60 < off_s <= 300 else set()

    # --- sections 6 and 7 ---

    def judged(self) -> Judged:
        runs = self._runs()
        judged = Judged(candidates=self._candidates(runs))
        reached: Instant | None = None
        for run in runs:
            choice = Choice(self, run, self._values(run, judged))
            chain = choice.chain if choice.is_published else []
            judged.chains[run.at] = chain
            for day, candidates in judged.candidates.items():
                if candidates[0].run is run:
                    judged.days[day] = self._shown(day, candidates, choice)
            for link in self._links(run, choice, chain, reached):
                judged.links.append(link)
            reached = chain[-1].shown_at if chain else reached
            reached = run.ended.at if run.ended and reached is not None else reached
        for told in self._decisions:
            if told["action"] == "substitute":
                self._put(told, runs, judged)
        for day, shown in judged.days.items():
            if shown.is_read and shown.state != "rejected":
                shown.codes |= self._found(day)
        return judged

    def _values(self, run: Run, judged: Judged) -> list[Value]:
        end = run.ended.at if run.ended else datetime.max.replace(tzinfo=UTC)
        told = [(run.at, run.initial)]
        ratios = self._ratios_in_force()
        told += [(it.at, it.register) for it in ratios if run.at <= it.at < end]
        told += [(end, run.ended.old_final)] if run.ended else []
        found = [Value(None, at, it, is_confirmed=True) for at, it in told if it is not None]
        every = (it for of_day in judged.candidates.values() for it in of_day)
        found += [it.value for it in every if it.run is run and it.takes_part]
        return sorted(found, key=Value.rank)

    def _shown(self, day: date, candidates: list[Candidate], choice: Choice) -> Shown:
        chosen = [it for it in candidates if it.value in choice.chain]
        left = [it for it in candidates if it.decided != "reject"] or candidates
        most = min(left, key=lambda it: (-len(it.value.reads), it.value.rank()))
        it = chosen[0] if chosen else most
        codes = it.not_this_day | it.failed | it.soft
        if any(other.is_conflict for other in candidates if other is not it):
            codes |= {"V34"}
        shown = partial(Shown, total=it.value.total, decimals=it.run.decimals)
        if chosen and choice.is_published:
            return shown("published", codes=codes | _remarks(choice, it.value))
        was_read_again = len(it.value.reads) > 1 or day in self._refused
        if it.decided == "reject":
            step = "person" if was_read_again else "recollect"
            return shown("rejected", codes=set(), next_step=step)
        codes |= {"V38"} if it.decided == "withdraw" else set()
        if it.takes_part:
            codes |= choice.codes_beside(it.value)
        step = _next_step(codes, was_read_again=was_read_again, is_skewed="V05" in it.failed)
        return shown("suspect", codes=codes, next_step="recollect" if it.not_this_day else step)

    def _found(self, day: date) -> set[str]:
        covering = sorted(
            (it for it in self._findings if _covers(it, day)), key=lambda it: it["rev"]
        )
        last = {it["code"]: it.get("active", True) for it in covering}
        return {code for code, is_active in last.items() if is_active}

    def _links(
        self, run: Run, choice: Choice, chain: list[Value], reached: Instant | None
    ) -> Iterator[tuple[Instant, Instant, Fraction | None, str | None]]:
        if chain and reached is not None and self._at(reached) < chain[0].at:
            yield reached, chain[0].shown_at, None, "initial_lost"
        for u, v in pairwise(chain):
            delta = Fraction(v.total) - Fraction(u.total)
            if u.at == v.at and delta == 0:
                continue
            if choice.step(u, v) == "backward":
                yield u.shown_at, v.shown_at, None, "backward"
                continue
            turned = delta + (run.modulus if delta < 0 else 0)
            ratio, is_changed = self._ratio_between(u, v)
            held = self._held(choice, u, v, is_changed=is_changed)
            yield u.shown_at, v.shown_at, turned * ratio, held
        reached = chain[-1].shown_at if chain else reached
        is_lost = run.ended is not None and run.ended.old_final is None
        if run.ended and is_lost and reached is not None and self._at(reached) < run.ended.at:
            yield reached, run.ended.at, None, "final_lost"

    def _at(self, reached: Instant) -> datetime:
        return reached if isinstance(reached, datetime) else self.midnight(reached)

    def _ratio_between(self, u: Value, v: Value) -> tuple[Fraction, bool]:
        told = [(self._of_midnight(it.at), it.ratio) for it in self._ratios_in_force()]
        ratio = ([it for at, it in told if at <= u.at] or [told[0][1]])[-1]
        return ratio, any(u.at < at < v.at and it != ratio for at, it in told)

    def _of_midnight(self, at: datetime) -> datetime:
        """A ratio begins with its day as the meter's clock has it."""
        return self.midnight(at.astimezone(self.zone).date())

    def _held(self, choice: Choice, u: Value, v: Value, *, is_changed: bool) -> str | None:
        if self.is_long(u, v):
            return "span"
        if is_changed:
            return "ratio"
        skipped = [it for it in choice.values if u.place < it.place < v.place]
        days = [it.day for it in choice.values if it.day]
        is_jump = any(
            choice.step(u, it) == "spike" and choice.is_good(it, v)
            for it in skipped
            if days.count(it.day or date.min) == 1
        )
        return "spike" if is_jump and not v.is_confirmed else None

    def _put(self, told: Mapping[str, Any], runs: Sequence[Run], judged: Judged) -> None:
        """Section 4.3: where no reading of its day was chosen."""
        begun = [it for it in runs if it.at <= self.midnight(told["day"])]
        shown = judged.days.get(told["day"])
        is_chosen = shown and (shown.state == "published" or "V32" in shown.codes)
        if not begun or is_chosen or self._is_taken_back(told):
            return
        value = Value(told["day"], self.midnight(told["day"]), {"total": told["total"]})
        choice = Choice(self, begun[-1], [])
        chain = judged.chains[begun[-1].at]
        before = [it for it in chain if it.place < value.place][-1:]
        behind = [it for it in chain if value.place < it.place][:1]
        step = partial(choice.step, has_limit=True)
        codes = {"V07" for it in before if step(it, value) == "backward"}
        codes |= {"V27" for it in behind if step(value, it) == "backward"}
        state, next_step = ("suspect", "person") if codes else ("substituted", None)
        judged.days[told["day"]] = Shown(
            state, told["total"], codes, begun[-1].decimals, next_step, is_read=False
        )

    def _is_taken_back(self, told: Mapping[str, Any]) -> bool:
        later = self._decisions[self._decisions.index(dict(told)) + 1 :]
        return any((it["day"], it["total"]) == (told["day"], told["total"]) for it in later)

    # --- section 9 ---

    def shown_at(self, at: Instant) -> str:
        if not isinstance(at, datetime):
            return str(at)
        return at.astimezone(self.zone).replace(tzinfo=None).isoformat(timespec="minutes")


def _standard_offset(local: datetime) -> timedelta:
    return (local.utcoffset() or timedelta(0)) - (local.dst() or timedelta(0))


def _covers(finding: Mapping[str, Any], day: date) -> bool:
    first, last = str(finding["from"]), str(finding["to"])
    return first <= str(day) <= last


def _adds_up(run: Run, registers: Registers) -> bool:
    rates = [Fraction(kwh) for name, kwh in registers.items() if name != "total"]
    apart = (Fraction(registers["total"]) - sum(rates)) % run.modulus
    return not rates or min(apart, run.modulus - apart) <= Fraction(
        len(rates), 10**run.wire_decimals
    )


def _remarks(choice: Choice, value: Value) -> set[str]:
    reads = [it for it in choice.chain if it.day]
    number = reads.index(value)
    sources = [it.reads[0].source for it in reads[: number + 1]]
    changes = [before != after for before, after in pairwise(sources)]
    codes = {"V37"} if any(changes[-2:]) else set()
    codes |= {"V33"} if choice.is_disputed(value) else set()
    first = value
    for it in reversed(reads[:number]):
        if it.total != value.total:
            break
        first = it
    is_still = first.day and value.day and value.day - first.day >= 30 * DAY
    return codes | ({"V10"} if is_still else set())


def _next_step(codes: Iterable[str], *, was_read_again: bool, is_skewed: bool) -> str:
    if is_skewed or {"V35", "V36", "V38"}.intersection(codes):
        return "person"
    if "V32" in codes:
        return "wait"
    return "person" if was_read_again else "reread"


def result_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """What a case comes to, in the shape of its `expected`."""
    rule = Rule(case["input"])
    steps = []
    before: dict[str, Any] = {}
    for number, event in enumerate(case["input"]["events"]):
        refused = rule.tell(event)
        now = _days(rule.verdict)
        step: dict[str, Any] = {"event": number} | ({"refused": refused} if refused else {})
        step["days"] = {day: it for day, it in now.items() if before.get(day) != it}
        was = {day: it["value"] for day, it in before.items() if it["state"] == "published"}
        stays = {day: it["value"] for day, it in now.items() if it["state"] == "published"}
        lost = [[day, total] for day, total in was.items() if stays.get(day) != total]
        steps.append(step | ({"withdrawn": lost} if lost else {}))
        before = now
    chains = (it for chain in rule.verdict.chains.values() for it in chain)
    return {
        "steps": steps,
        "days": _days(rule.verdict),
        "chain": [[rule.shown_at(it.shown_at), f"{it.total:f}"] for it in chains],
        "links": [_told_link(rule, *it) for it in rule.verdict.links],
    }


def _days(judged: Judged) -> dict[str, Any]:
    return {str(day): it.told() for day, it in sorted(judged.days.items())}


def _told_link(
    rule: Rule, start: Instant, end: Instant, kwh: Fraction | None, held: str | None
) -> dict[str, str]:
    told = {"from": rule.shown_at(start), "to": rule.shown_at(end)}
    if kwh is not None:
        text = f"{Decimal(kwh.numerator) / kwh.denominator:f}"
        told["kwh"] = text.rstrip("0").rstrip(".") if "." in text else text
    return told if held is None else told | {"held": held}
