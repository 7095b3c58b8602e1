"""The values of a run in order: what may stand in its chain, candidates and documents alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from datetime import time as wall_clock
from typing import Final, NamedTuple

from daemon.quality.candidates import Candidate, order_of
from daemon.quality.facts import Ratio, Registers
from daemon.quality.local_time import DAY_S
from daemon.quality.runs import Run

INITIAL: Final = 0
RATIO: Final = 1
FREEZE: Final = 2
FINAL: Final = 3


class Value(NamedTuple):
    """Registers at a moment, in the register's steps."""

    at: date | datetime
    """The day of a freeze, or the moment of a document."""
    day: date
    at_s: int
    wall_s: int
    """The same on the meter's clock, where every day has 24 hours."""
    order: int
    """Of values at the same second: INITIAL, RATIO, FREEZE, FINAL."""
    steps: tuple[int, ...]
    rates: tuple[str, ...]
    candidate: Candidate | None

    @property
    def is_confirmed(self) -> bool:
        """Whether a person stands behind it (section 4.1)."""
        return self.candidate is None or self.candidate.is_confirmed

    @property
    def has_rolled_over(self) -> bool:
        """Whether a person said that the register turned over before it."""
        return self.candidate is not None and self.candidate.has_rolled_over

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in time; the candidates of a day share one."""
        return (self.at_s, self.order)


def values_of(
    run: Run,
    candidates: Mapping[date, Iterable[Candidate]],
    ratios: Iterable[Ratio],
    begins_on: date | None,
) -> list[Value]:
    """Sound candidates and the registers of documents, in order of time.

    Candidates of a day stand in the order by which the chain prefers one: earlier read, smaller
    registers. A window (`begins_on`) has the last confirmed value before it besides."""
    values = [it for same_day in candidates.values() for it in _freezes(run, same_day)]
    values += _documents(run, ratios)
    values.sort(key=lambda it: it.place)
    if begins_on is None or not run.holds(begins_on):
        return values
    start = (run.midnight_s(begins_on), FREEZE)
    before = [it for it in values if it.place < start and it.is_confirmed]
    return before[-1:] + [it for it in values if it.place >= start]


def _freezes(run: Run, same_day: Iterable[Candidate]) -> list[Value]:
    sound = [it for it in same_day if it.is_sound]
    if len(sound) > 1:
        sound.sort(key=lambda it: (it.read_at, order_of(it.registers)))
    return [_freeze(run, it) for it in sound]


def _freeze(run: Run, candidate: Candidate) -> Value:
    return Value(
        at=candidate.day,
        day=candidate.day,
        at_s=run.midnight_s(candidate.day),
        wall_s=candidate.day.toordinal() * DAY_S,
        order=FREEZE,
        steps=candidate.steps,
        rates=_names(candidate.registers),
        candidate=candidate,
    )


def substitute_of(run: Run, day: date, registers: Registers, steps: tuple[int, ...]) -> Value:
    """What a person put in the place of a freeze, to be held against the chain."""
    at_s = run.midnight_s(day)
    wall_s = day.toordinal() * DAY_S
    return Value(day, day, at_s, wall_s, FREEZE, steps, _names(registers), candidate=None)


def _documents(run: Run, ratios: Iterable[Ratio]) -> list[Value]:
    found = []
    began = run.installation
    if began.initial is not None:
        found.append(_document(run, began.at, INITIAL, began.initial))
    for ratio in ratios:
        if ratio.register is not None and run.holds(ratio.at):
            found.append(_document(run, ratio.at, RATIO, ratio.register))
    if run.ended is not None and run.ended.old_final is not None:
        found.append(_document(run, run.ended.at, FINAL, run.ended.old_final))
    return found


def _document(run: Run, at: date | datetime, order: int, registers: Registers) -> Value:
    scale = run.installation.decimals
    values = (registers.total, *(rate for _, rate in registers.rates))
    at_s = run.seconds(at)
    day = run.day_of(at) if isinstance(at, datetime) else at
    return Value(
        # As it was told: to a meter that keeps standard time, midnight comes later in summer.
        at=at if isinstance(at, datetime) else datetime.combine(at, wall_clock(), run.zone),
        day=day,
        at_s=at_s,
        wall_s=day.toordinal() * DAY_S + at_s - run.midnight_s(day),
        order=order,
        # A document may be more exact than the register, which would have shown the lesser.
        steps=tuple(int(value.scaleb(scale)) for value in values),
        rates=_names(registers),
        candidate=None,
    )


def _names(registers: Registers) -> tuple[str, ...]:
    return tuple([name for name, _ in registers.rates])
