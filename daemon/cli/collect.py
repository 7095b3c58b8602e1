"""meterd collect: meters are read now, by the running daemon."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from daemon.cli.output import FAILED, as_json, echo, fail, print_json, print_table
from daemon.cli.running import daemon_asked
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day, Number


@click.command()
@click.argument("meters", metavar="METER...", nargs=-1)
@click.option("--line", metavar="NAME", help="All meters of this line.")
@click.option(
    "--failed",
    "which",
    flag_value="failed",
    help="Those that lack a freeze that is due; with --line only the line's.",
)
@click.option(
    "--withheld",
    "which",
    flag_value="withheld",
    help="The days whose values are withheld, once more; with --line only the line's.",
)
@click.option(
    "--what",
    type=click.Choice(["freeze", "registers", "clock", "relay"]),
    default="freeze",
    show_default=True,
    help="A daily freeze is stored and billed like any other; registers are kept as a raw reading "
    "that fills no day; clock and relay are only told.",
)
@click.option(
    "--day",
    type=Day(),
    help="Of the freeze; default: the newest that is due.",
)
@click.option(
    "--within",
    "within_s",
    metavar="SECONDS",
    type=Number(1, 86_400),
    default=120,
    show_default=True,
    help="Then nobody waits any more.",
)
@site_option
@as_json
def collect(
    meters: tuple[str, ...],
    line: str | None,
    which: str | None,
    what: str,
    day: date | None,
    within_s: float,
    site_path: Path,
    as_json: bool,
) -> None:
    """Read meters now, through the running daemon.

    Each METER by its address or point, a line, all that failed, or all that is withheld. They are
    asked before what is due anyway. What a meter told within the last 5 minutes is told again
    without asking it. Ctrl-C takes back what was not asked yet. Exit code 0 when every meter
    answered, else 1."""
    request = {
        "do": "collect",
        "what": what,
        "within_s": within_s,
        "meters": list(meters),
        "line": line,
        "failed": which == "failed",
        "withheld": which == "withheld",
        "day": None if day is None else day.isoformat(),
    }
    _refuse_wrong_use(request)
    results, asked = _results(request, site_path, as_json)
    if not as_json:
        results.sort(key=lambda result: (result["line"], result["meter"]))
        head = ("meter", "point", "line", "day", "result", "value", "reason")
        print_table(head, [_row(result) for result in results])
    good = sum(result["outcome"] == "ok" for result in results)
    echo(f"{good} of {asked} meters answered" if asked else _nothing(request), err=True)
    raise SystemExit(0 if good == asked else FAILED)


def _nothing(request: Mapping[str, Any]) -> str:
    return "nothing is withheld" if request["withheld"] else "nothing is missing"


def _refuse_wrong_use(request: Mapping[str, Any]) -> None:
    """The daemon would refuse it too, in the words of its keys instead of these options."""
    for option in ("failed", "withheld"):
        if request[option] and request["meters"]:
            raise click.UsageError(f"--{option} goes with --line, not with meters")
    if request["failed"] and request["day"]:
        raise click.UsageError(
            "--failed asks each meter for the newest day that it lacks: leave out --day"
        )
    if request["withheld"] and (request["day"] or request["what"] != "freeze"):
        raise click.UsageError("--withheld asks for the days that are withheld: leave out --day")
    if not any(request[what] for what in ("failed", "withheld", "meters", "line")):
        raise click.UsageError("name meters, or --line, --failed or --withheld")
    if request["day"] and request["what"] != "freeze":
        raise click.UsageError("--day belongs to a freeze")


def _results(
    request: Mapping[str, Any], site_path: Path, as_json: bool
) -> tuple[list[dict[str, Any]], int]:
    """What came until the end or Ctrl-C, and how many meters were asked."""
    results: list[dict[str, Any]] = []
    asked = 0
    is_watched = not as_json and sys.stderr.isatty()
    with (
        daemon_asked(site_path, request) as answers,
        Progress(console=Console(stderr=True), disable=not is_watched, transient=True) as progress,
    ):
        bar = progress.add_task("meters", total=None)
        try:
            for answer in answers:
                if "asked" in answer:
                    asked = answer["asked"]
                    progress.update(bar, total=asked)
                elif "end" not in answer:
                    results.append(answer)
                    progress.advance(bar)
                    if as_json:
                        print_json(answer)
        except KeyboardInterrupt:
            # What came until now is shown; leaving takes back the rest.
            if not asked:
                raise fail("stopped before anything was asked") from None
            echo("stopped", err=True)
    return results, asked


def _row(result: Mapping[str, Any]) -> tuple[object, ...]:
    reason = result["reason"]
    if result["age_s"] is not None:
        reason = f"{reason} (told {result['age_s']:.0f} s ago)".lstrip()
    return (
        result["meter"],
        result["point"],
        result["line"],
        result["day"],
        result["outcome"].replace("_", " "),
        _value(result["values"]) or None,
        reason or None,
    )


def _value(values: Mapping[str, str | None]) -> str:
    """The total of registers; every value of a clock or a relay."""
    # A value of this moment fills no freeze (R03).
    total = values.get("total_kwh")
    if total:
        return f"{total} kWh"
    return ", ".join(f"{name} {value}" for name, value in values.items() if name != "total_kwh")
