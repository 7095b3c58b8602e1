"""meterd demo: the whole loop on simulated meters."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from daemon.cli.output import as_json, console, echo, fail, print_json, print_table
from daemon.runtime import logs

if TYPE_CHECKING:
    from daemon.demo.processes import Check, Say, ShowProgress

AS_ROOT: Final = (
    "running as root: PostgreSQL refuses that, so it runs as an OS user `pgserver`, "
    "which is made if need be, and the\n"
    "parent folders of its data and of this program's installation are opened for reading"
)


@click.command()
@click.option(
    "--serve",
    is_flag=True,
    help="Leave everything running afterwards, until Ctrl-C, to look around.",
)
@click.option(
    "--prometheus",
    is_flag=True,
    help="With --serve: a Prometheus beside it, with the rules (apt install prometheus).",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep all files here (a new folder).",
)
@as_json
def demo(serve: bool, prometheus: bool, folder: Path | None, as_json: bool) -> None:
    """Show the whole loop in about a minute, on simulated meters and an embedded database.

    Collects a month of 64 meters over two TCP lines and a serial one, cuts and mends a line, bills
    everybody, cuts one customer, restores them after payment, and proves every balance against the
    simulators' own truth. Exit code 0 only if all of it held."""
    # They import the daemon, a database and pymodbus: `meterd --help` does not wait for that.
    from daemon.demo.processes import running_demo
    from daemon.demo.show import tell_the_story
    from daemon.demo.watching import prometheus_beside

    if prometheus and not serve:
        raise click.UsageError("--prometheus goes with --serve")
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise fail(f"{folder} is not empty; the demonstration wants a folder of its own")
    logs.configure(level="warning")
    if os.geteuid() == 0:
        echo(AS_ROOT, err=True)
    _end_by_signals()
    began = time.monotonic()
    with _shown() as (say, progress), running_demo(folder, say, progress) as running:
        watched = (
            prometheus_beside(running.folder, running.http_port, shutil.which("prometheus"))
            if prometheus
            else nullcontext("")
        )
        with watched as prometheus_at:
            tell_the_story(running)
            if serve:
                _look_around(running.site, running.http_port, prometheus_at)
        running.stop_daemon()
    if as_json:
        _print_as_json(running.checks)
    else:
        _print(running.checks, time.monotonic() - began)
    if not all(check.holds for check in running.checks):
        raise fail("the demonstration failed")


def _end_by_signals() -> None:
    """End what was started too.

    Also in the background of a shell, where SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _print_as_json(checks: Sequence[Check]) -> None:
    for check in checks:
        print_json(
            {
                "check": check.what,
                "holds": check.holds,
                "found": check.found,
            }
        )


def _print(checks: Sequence[Check], took_s: float) -> None:
    rows = [("ok" if check.holds else "FAILED", check.what, check.found) for check in checks]
    print_table(("", "what had to hold", "found"), rows, title="meterd demo")
    held = sum(check.holds for check in checks)
    echo(
        f"{held} of {len(checks)} held, {took_s:.0f} s.\n"
        "Look next: `meterd demo --serve` leaves it running; "
        "README.md leads to the first site of your own."
    )


def _look_around(site: Path, http_port: int, prometheus_at: str) -> None:
    echo(
        f"\nEverything is running. In another terminal:\n"
        f"  meterd account show C1105 -c {site}\n"
        f"  meterd supply show --point P1105 -c {site}\n"
        f"  meterd gaps -c {site}\n"
        f"  curl http://127.0.0.1:{http_port}/metrics\n"
        f"  tail -f {site.parent / 'meterd.log'}\n"
        + (f"Prometheus with the rules: {prometheus_at}/alerts\n" if prometheus_at else "")
        + "Ctrl-C ends it."
    )
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        echo("")


@contextmanager
def _shown() -> Iterator[tuple[Say, ShowProgress]]:
    """(say, progress): bars on a terminal, plain lines in a pipe."""
    screen = console()
    if not screen.is_terminal:
        last: dict[str, int] = {}

        def plain_progress(line: str, present: int, owed: int) -> None:
            # A line of text for each tenth: a pipe keeps all of them.
            tenth = 10 * present // owed
            if last.get(line) != tenth:
                last[line] = tenth
                echo(f"{line}: {present} of {owed}", err=True)

        yield lambda text: echo(text, err=True), plain_progress
        return
    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(bar_width=50),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(line: str, present: int, owed: int) -> None:
            if line not in tasks:
                tasks[line] = bars.add_task(line, total=owed)
            bars.update(tasks[line], completed=present, total=owed)

        yield lambda text: bars.console.print(Text.assemble((">", "bold"), f" {text}")), progress
