"""What a scenario says is true of its meters at some time, and whether it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from simulators.bench.change_tables import Action, Cut, Mend
from simulators.bench.changes import apply
from simulators.bench.facts import frozen_registers, meter_facts
from simulators.bench.scenario import Scenario
from simulators.bench.stage import Stage
from simulators.bench.tables import TruthTable


async def untrue(scenario: Scenario) -> list[str]:
    """What it says and what is not so, in words.

    Its actions happen at their times from its `start` on; no line is opened, cut or mended."""
    at = scenario.start or datetime(1, 1, 1)  # noqa: DTZ001 - one without truth needs no time
    began = at
    stage = Stage(scenario, lambda: at)
    found: list[str] = []
    for step in _steps(scenario):
        at = began + _when(step)
        if isinstance(step, TruthTable):
            found += _differences(stage, step, at)
        elif not isinstance(step.change, Cut | Mend):
            await apply(stage, step.change)
    return found


def _steps(scenario: Scenario) -> list[Action | TruthTable]:
    """In the order of time; what is done comes before what is true then."""
    steps: list[Action | TruthTable] = [*scenario.actions, *scenario.truth]
    return sorted(steps, key=lambda step: (_when(step), isinstance(step, TruthTable)))


def _when(step: Action | TruthTable) -> timedelta:
    if isinstance(step, TruthTable):
        return timedelta(microseconds=int(step.after_s * 1_000_000))
    return step.after


def _differences(stage: Stage, truth: TruthTable, at: datetime) -> Iterator[str]:
    meter = stage.meters.get(truth.address)
    who = f"{truth.address} at {at:%Y-%m-%d %H:%M:%S}"
    if meter is None:
        yield f"{who}: there is no such meter"
        return
    facts = meter_facts(meter, at)
    frozen = frozen_registers(meter, at)
    for name in ("register", "relay", "power", "serial", "clock"):
        told = getattr(truth, "register_kwh" if name == "register" else name)
        if told is not None and told != facts[name]:
            yield f"{who}: {name} is {facts[name]}, not {told}"
    for day, kwh in truth.frozen.items():
        if frozen.get(day) != kwh:
            yield f"{who}: the freeze of {day} is {frozen.get(day)}, not {kwh}"
    for day in truth.missing:
        if day in frozen:
            yield f"{who}: the freeze of {day} is there, {frozen[day]}"
