"""A run that is recorded, and the same again: a bug report is a file."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from config.problems import ConfigError
from simulators.bench.clock import bench_clock
from simulators.bench.recording import Recording
from simulators.bench.running import Bench
from simulators.bench.scenario import Scenario, load_scenario, parse_scenario
from simulators.bench.stage import BadRequest

METER = "000000000006"
START = datetime(2026, 5, 2, 12)
SCENARIO = f"""# A bench.
speed = 2
seed = 9
[lines.gate]
port = 0
[[meters]]
line = "gate"
address = "{METER}"
count = 2
[overrides.{METER}]
drift_s_per_day = 0.5
"""
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("clock", {"address": METER, "by_s": Decimal("-400.5")}),
    ("register", {"address": METER, "jump_kwh": "100.5"}),
    ("fault_on", {"line": "gate", "kind": "late", "chance": Decimal("0.25"), "delay_ms": 5}),
    ("add_meter", {"line": "gate", "address": "000000000099", "reply_delay_ms": [1, 2]}),
    (
        "add_meter",
        {"line": "gate", "address": "000000000199", "faults": [{"kind": "echo", "chance": 1}]},
    ),
    ("power", {"address": METER, "state": "off"}),
    ("force_relay", {"address": "000000000007", "state": "open"}),
    ("remove_meter", {"address": "000000000099"}),
]


def ticking() -> Iterator[datetime]:
    """Each look at the clock is a second later."""
    at = START
    while True:
        yield at
        at += timedelta(seconds=1)


def recorded(path: Path, changes: list[tuple[str, dict[str, Any]]]) -> list[tuple[Any, ...]]:
    """Do them to a bench, a second apart or more; what happened."""
    scenario = replace(parse_scenario(SCENARIO), start=START)
    recording = Recording(path, scenario.text, START, scenario.speed)
    clock = ticking()

    async def run() -> list[tuple[Any, ...]]:
        async with Bench(scenario, now=lambda: next(clock), recording=recording) as bench:
            for name, keys in changes:
                await bench.do(name, keys)
            return told(bench)

    happened = asyncio.run(run())
    recording.close()
    return happened


def replayed(scenario: Scenario) -> tuple[list[tuple[Any, ...]], set[str]]:
    """Let the scenario run through its actions; what happened, and the meters at its end."""
    now = START

    def clock() -> datetime:
        """It comes soon to whatever time is waited for."""
        nonlocal now
        now += timedelta(seconds=0.5)
        return now

    async def run() -> tuple[list[tuple[Any, ...]], set[str]]:
        async with Bench(replace(scenario, speed=Decimal(100_000)), now=clock) as bench:
            while len(of_the_bench(told(bench))) < len(CHANGES):  # noqa: ASYNC110
                await asyncio.sleep(0)
            return told(bench), set(bench.meters)

    return asyncio.run(asyncio.wait_for(run(), 30))


def of_the_bench(events: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [event for event in events if event[1] == "bench"]


def told(bench: Bench) -> list[tuple[Any, ...]]:
    return [(event.address, event.kind, event.detail.get("do")) for _, event in bench.log.since(0)]


def test_what_was_done_to_a_bench_is_a_scenario_that_does_it_again(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    happened = recorded(path, CHANGES)
    scenario = load_scenario(path)
    assert scenario.start == START
    assert [scenario.speed, scenario.seed] == [2, 9]
    assert [(action.do, dict(action.keys)) for action in scenario.actions] == CHANGES
    gaps = [action.after for action in scenario.actions]
    assert gaps == sorted(gaps)
    assert gaps[-1] - gaps[0] >= timedelta(seconds=len(CHANGES) - 1)
    again, meters = replayed(scenario)
    assert of_the_bench(again) == of_the_bench(happened)
    assert meters == {METER, "000000000007", "000000000199"}


def test_a_recording_of_a_recorded_run_holds_both_and_can_be_read(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    recorded(first, CHANGES[:2])
    recording = Recording(second, load_scenario(first).text, START, Decimal(5))
    recording.change(timedelta(seconds=90), {"do": "mend", "line": "gate"})
    recording.close()
    scenario = load_scenario(second)
    assert [action.do for action in scenario.actions] == ["clock", "register", "mend"]
    assert scenario.speed == 5


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        Recording(path, "", START, Decimal(1))
    assert path.read_text() == "mine"


def test_what_was_refused_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"

    async def run() -> None:
        scenario = parse_scenario(SCENARIO)
        recording = Recording(path, scenario.text, START, Decimal(1))
        async with Bench(scenario, recording=recording) as bench:
            with pytest.raises(BadRequest, match="no meter"):
                await bench.do("remove_meter", {"address": "1"})
        recording.close()

    asyncio.run(run())
    assert not load_scenario(path).actions


def test_every_mistake_of_an_action_is_told_with_its_line() -> None:
    text = SCENARIO + (
        '[[actions]]\nafter_s = -1\ndo = "mend"\nline = "gate"\n'
        '[[actions]]\nafter_s = 1\ndo = "mand"\n'
        '[[actions]]\nafter_s = 1\ndo = "cut"\nline = "gatt"\n'
        '[[actions]]\nafter_s = 1\ndo = "power"\nline = "gate"\nstate = "dim"\n'
    )
    with pytest.raises(ConfigError) as refused:
        parse_scenario("start = 7\n" + text.replace("speed = 2", "speed = 0"), "b.toml")
    told = [str(problem).removeprefix("b.toml:") for problem in refused.value.problems]
    assert told[0] == "1: start: must be a time without zone, 2026-11-30T08:00:00, not 7"
    assert told[1] == "3: speed: must be a number from 1 to 100000, not 0"
    assert told[2] == "14: actions.0.after_s: must be seconds after the start, not -1"
    assert told[3].startswith("17: actions.1: do must be one of cut, mend")
    assert told[3].endswith("(did you mean mend?)")
    assert told[4] == "23: actions.2.line: there is no line 'gatt' (did you mean gate?)"
    assert told[5] == "24: actions.3: state: 'dim' is none of on, off"
    assert len(told) == 6


def test_a_bench_lives_faster_than_its_host() -> None:
    seconds = 1000.0
    clock = bench_clock(
        parse_scenario(SCENARIO).zone, START, Decimal(3600), monotonic=lambda: seconds
    )
    assert clock() == START
    seconds += 24
    assert clock() == START + timedelta(days=1)


def test_a_clock_that_jumps_lets_happen_what_is_due_by_it() -> None:
    text = SCENARIO + ('[[actions]]\nafter_s = 86400\ndo = "power"\nline = "gate"\nstate = "off"\n')
    now = START

    async def run() -> None:
        nonlocal now
        async with Bench(parse_scenario(text), now=lambda: now) as bench:
            assert bench.action_times() == [START + timedelta(days=1)]
            now = START + timedelta(days=1)
            bench.clock_moved()
            while bench.meters[METER].has_power:  # noqa: ASYNC110
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 30))
