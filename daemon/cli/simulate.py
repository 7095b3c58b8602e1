"""`meterd simulate`: a test bench of simulated meters from one TOML file."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from config.problems import ConfigError, did_you_mean
from daemon.cli.output import BAD_CONFIG, USAGE, as_json, echo, fail, print_json, print_table
from daemon.cli.typed import Whole
from simulators.bench.check import FASTEST
from simulators.bench.clock import bench_clock
from simulators.bench.control_port import CONTROL_HOST
from simulators.bench.diagnosis import Diagnosis
from simulators.bench.facts import frozen_registers
from simulators.bench.recording import Recording
from simulators.bench.running import Bench
from simulators.bench.scenario import (
    Scenario,
    load_scenario,
    parse_scenario,
    shipped_scenarios,
)
from simulators.bench.truth import untrue
from simulators.lines.master_watch import ADVICE


def _print_example(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        echo(
            files("simulators.scenarios").joinpath("bench.toml").read_text(encoding="utf-8"),
            nl=False,
        )
        context.exit()


def _print_list(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        scenarios = shipped_scenarios()
        rows = [(name, parse_scenario(text).about) for name, text in scenarios.items()]
        print_table(("scenario", "what it shows"), rows)
        context.exit()


@click.command()
@click.argument("scenario", required=False, type=click.Path(path_type=Path))
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_list,
    help="Print the scenarios that come with the program; no more.",
)
@click.option("--scenario", "name", help="One that comes with the program, instead of a file.")
@click.option(
    "--check",
    "only",
    flag_value="check",
    help="Say what is wrong or what is in it; no more.",
)
@click.option(
    "--truth",
    "only",
    flag_value="truth",
    help="Print the daily registers that each meter froze; no more.",
)
@click.option(
    "--control-port",
    type=Whole(0, 65535),
    default=0,
    help="On 127.0.0.1; 0 = a free one.",
)
@click.option(
    "--example",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_example,
    help="Print a scenario to begin with; no more.",
)
@click.option(
    "--speed",
    type=Whole(1, FASTEST),
    help="Seconds that the meters live through in one; otherwise the scenario's, or 1.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    help="A file that does not exist yet: this run as a scenario, with all that is done to it.",
)
@click.option(
    "--report",
    is_flag=True,
    help="At the end, what those who read the meters did wrong, and what to do.",
)
@as_json
def simulate(
    scenario: Path | None,
    name: str | None,
    only: str | None,
    control_port: int,
    speed: int | None,
    record: Path | None,
    report: bool,
    as_json: bool,
) -> None:
    """Run the meters of SCENARIO (a TOML file) until SIGINT or SIGTERM.

    They are on TCP ports and pseudo-terminals. A scenario with mistakes is refused with all of
    them, exit code 78. The control port takes JSON lines that cut and mend lines and tell what
    is true (docs/simulators.md)."""
    try:
        loaded = _chosen(scenario, name)
    except ConfigError as error:
        if as_json:
            mistakes = [asdict(problem) for problem in error.problems]
            print_json({"ok": False, "mistakes": mistakes})
        else:
            echo(str(error), err=True)
        sys.exit(BAD_CONFIG)
    if speed is not None:
        loaded = replace(loaded, speed=Decimal(speed))
    if only == "check":
        _print_summary(loaded, as_json=as_json)
        if wrong := asyncio.run(untrue(loaded)):
            raise fail("\n".join(["what it says is true is not:", *wrong]))
    elif only == "truth":
        _print_truth(loaded)
    else:
        _run(_serve(loaded, control_port, record, reports=report, as_json=as_json))


def _chosen(path: Path | None, name: str | None) -> Scenario:
    """ConfigError; a failure where it is not said which."""
    if path is not None and name is None:
        return load_scenario(path)
    if path is not None or name is None:
        raise fail("say which: a file, or --scenario NAME (--list names them)", USAGE)
    scenarios = shipped_scenarios()
    if name not in scenarios:
        hint = did_you_mean(name, scenarios)
        raise fail(f"there is no scenario {name!r}{hint}; --list names them", USAGE)
    return parse_scenario(scenarios[name], f"{name}.toml")


def _print_summary(scenario: Scenario, *, as_json: bool) -> None:
    counts = dict.fromkeys(scenario.lines, 0)
    for fleet in scenario.fleets:
        counts[fleet.line] += fleet.count
    if as_json:
        print_json(
            {
                "ok": True,
                "zone": str(scenario.zone),
                "meters": scenario.meter_count,
                "lines": counts,
            }
        )
    else:
        print_table(("line", "meters"), counts.items())


def _print_truth(scenario: Scenario) -> None:
    now = bench_clock(scenario.zone, scenario.start, scenario.speed)
    for name, bus in scenario.build(now).items():
        for meter in bus.meters.values():
            print_json(
                {
                    "line": name,
                    "address": meter.address,
                    "freezes": frozen_registers(meter.state, now()),
                }
            )


async def _serve(
    scenario: Scenario,
    control_port: int,
    record: Path | None,
    *,
    reports: bool,
    as_json: bool,
) -> None:
    # Handlers before lines: a bench that is stopped early removes its links too.
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _recording(record, scenario) as (scenario, recording):
        async with Bench(scenario, control_port=control_port, recording=recording) as bench:
            _tell_that_it_runs(bench, as_json=as_json)
            await stop.wait()
            bench.stage.finish_diagnosis()
            if reports:
                _print_report(bench.stage.diagnosis, as_json=as_json)


def _print_report(diagnosis: Diagnosis, *, as_json: bool) -> None:
    findings = list(diagnosis.findings())
    if as_json:
        print_json({"findings": [finding.as_json() for finding in findings]})
        return
    for finding in findings:
        first = finding.first_at.isoformat(" ", "seconds")
        echo(f"{finding.line}: {finding.kind} x {finding.count}, first {first}: {finding.detail}")
        echo(f"  {ADVICE[finding.kind]}")
        if finding.example:
            echo(f"  {finding.example}")
    if not findings:
        echo("nobody who read these meters did anything wrong")


@contextmanager
def _recording(
    path: Path | None, scenario: Scenario
) -> Iterator[tuple[Scenario, Recording | None]]:
    """The scenario with the time at which it starts, and where it is recorded."""
    if path is None:
        yield scenario, None
        return
    start = bench_clock(scenario.zone, scenario.start, scenario.speed)()
    try:
        recording = Recording(path, scenario.text, start, scenario.speed)
    except OSError as error:
        raise fail(f"{path} cannot be written: {error.strerror}") from None
    with closing(recording):
        yield replace(scenario, start=start), recording


def _tell_that_it_runs(bench: Bench, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "ready": True,
                "lines": {name: line.whereabouts() for name, line in bench.lines.items()},
                "control": {"host": CONTROL_HOST, "port": bench.control_port},
                "meters": len(bench.meters),
            }
        )
    else:
        for name, line in bench.lines.items():
            echo(f"{name}: {len(line.bus.meters)} meters on {line.place}")
        echo(f"control port: {CONTROL_HOST}:{bench.control_port}")


def _run(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where there is one: half the time per answer."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
