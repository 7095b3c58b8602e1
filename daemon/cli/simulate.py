"""`meterd simulate`: a test bench of simulated meters from one TOML file."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from config.problems import ConfigError
from daemon.cli.output import BAD_CONFIG, as_json, echo, print_json, print_table
from daemon.cli.typed import Whole
from simulators.bench.control_port import CONTROL_HOST, frozen_registers
from simulators.bench.running import Bench
from simulators.bench.scenario import Scenario, load_scenario, site_clock


def _print_example(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        echo(
            files("simulators.scenarios").joinpath("bench.toml").read_text(encoding="utf-8"),
            nl=False,
        )
        context.exit()


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--check",
    "only_check",
    is_flag=True,
    help="Say what is wrong or what is in it; no more.",
)
@click.option(
    "--truth",
    "only_truth",
    is_flag=True,
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
@as_json
def simulate(
    scenario: Path,
    only_check: bool,
    only_truth: bool,
    control_port: int,
    as_json: bool,
) -> None:
    """Run the meters of SCENARIO (a TOML file) until SIGINT or SIGTERM.

    They are on TCP ports and pseudo-terminals. A scenario with mistakes is refused with all of
    them, exit code 78. The control port takes JSON lines that cut and mend lines and tell what
    is true (docs/simulators.md)."""
    try:
        loaded = load_scenario(scenario)
    except ConfigError as error:
        if as_json:
            mistakes = [asdict(problem) for problem in error.problems]
            print_json({"ok": False, "mistakes": mistakes})
        else:
            echo(str(error), err=True)
        sys.exit(BAD_CONFIG)
    if only_check:
        _print_summary(loaded, as_json=as_json)
    elif only_truth:
        _print_truth(loaded)
    else:
        _run(_serve(loaded, control_port, as_json=as_json))


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
    now = site_clock(scenario.zone)
    for name, bus in scenario.build(now).items():
        for meter in bus.meters.values():
            print_json(
                {
                    "line": name,
                    "address": meter.address,
                    "freezes": frozen_registers(meter.state, now()),
                }
            )


async def _serve(scenario: Scenario, control_port: int, *, as_json: bool) -> None:
    # Handlers before lines: a bench that is stopped early removes its links too.
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Bench(scenario, control_port=control_port) as bench:
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
        await stop.wait()


def _run(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where there is one: half the time per answer."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
