"""meterd check: every mistake of a configuration at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from itertools import chain
from pathlib import Path

import click

from config.lines import TerminalSettings, configured_lines
from config.load import load_site
from config.problems import ConfigError
from config.settings import LineSection
from daemon.cli.on_site import site_option
from daemon.cli.output import BAD_CONFIG, as_json, print_json, print_table
from daemon.field.serial_ports import is_unstable, unstable_in_words

CHARACTER_BITS = 11
DAY_CHARACTERS = 4 + 16 + 4 + 21 + 4 + 16 + 4 + 36
"""One freeze: its time stamp and its five registers, each asked and answered, with four wake-up
bytes."""
CLOCK_CHARACTERS = 4 + 16 + 4 + 20 + 4 + 16 + 4 + 19
ANSWER_DELAY_S = 0.1
"""A meter may take 20 to 500 ms; most need about this."""
DTU_BAUD = 2400
"""What is behind a terminal nobody tells; most of its meters speak so."""
FREEZES_DUE = timedelta(hours=2)
"""Today's freezes should be there two hours after midnight."""

Row = tuple[str, str, int, timedelta, timedelta]
"""Line, channel, meters, round of a day, first round."""


@click.command(short_help="Name every mistake of a configuration.")
@site_option
@as_json
def check(site_path: Path, as_json: bool) -> None:
    """Read the whole configuration as the daemon would and name every mistake. Opens no port, needs
    no database.

    Exit code 0 when it can be used, 78 when not. Also does the sums that one forgets: how long each
    line needs."""
    try:
        site = load_site(site_path)
    except ConfigError as error:
        if not as_json:
            raise
        for problem in error.problems:
            print_json(
                {
                    "file": problem.file,
                    "line": problem.line,
                    "where": problem.where,
                    "message": problem.message,
                }
            )
        raise SystemExit(BAD_CONFIG) from None
    meters = Counter(meter.line for meter in site.archive.meters)
    days = site.settings.collection.backfill_days
    rows: list[Row] = []
    of_terminals: defaultdict[str, list[Row]] = defaultdict(list)
    for line in configured_lines(site):
        count = meters[line.name]
        match line.settings:
            case LineSection(baud=baud) as section:
                rows.append(_row(line.name, _channel(section), baud, count, days))
            case TerminalSettings(terminal=terminal):
                row = _row(line.name, terminal, DTU_BAUD, count, days)
                of_terminals[line.shown_as].append(row)
    every = [*rows, *chain.from_iterable(of_terminals.values())]
    if as_json:
        for name, _, count, daily, first in every:
            print_json(
                {
                    "line": name,
                    "meters": count,
                    "daily_round_s": round(daily.total_seconds()),
                    "first_backfill_s": round(first.total_seconds()),
                }
            )
        return
    for listener in site.settings.listener:
        if own := of_terminals[listener.name]:
            channel = f"{len(own)} terminals at {':'.join(map(str, listener.listen))}"
            _, _, counts, dailies, firsts = zip(*own, strict=True)
            rows.append((listener.name, channel, sum(counts), max(dailies), max(firsts)))
    print_table(
        ("line", "channel", "meters", "daily round", f"first {days} days"),
        [
            (name, channel, count, _short(daily), _short(first))
            for name, channel, count, daily, first in rows
        ],
    )
    for gateway in site.settings.gateway:
        click.echo(
            f"gateway {gateway.name}: {meters[gateway.name]} meters, {gateway.family}, {gateway.broker.host}"
        )
    for name, _, _, daily, _ in every:
        if daily > FREEZES_DUE:
            click.echo(
                f"warning: line {name} needs {_short(daily)} for one day's freezes, which should be there after "
                f"{_short(FREEZES_DUE)}: raise its baud rate or split it",
                err=True,
            )
    for section in site.settings.line:
        if section.serial is not None and is_unstable(section.serial):
            words = unstable_in_words(section.serial)
            click.echo(f"warning: line {section.name}: {words}", err=True)
    archive = site.archive
    click.echo(
        f"{site.settings.site.name}: {len(archive.meters)} meters, {len(archive.points)} points, "
        f"{len(archive.accounts)} accounts, control {site.settings.control.mode}. No mistakes."
    )


def _row(
    name: str,
    channel: str,
    baud: int,
    meters: int,
    days: int,
) -> Row:
    return name, channel, meters, _round_time(baud, meters, 1), _round_time(baud, meters, days)


def _channel(line: LineSection) -> str:
    if line.tcp is not None:
        return ":".join(map(str, line.tcp))
    return line.serial or (f"{line.mqtt.host} {line.mqtt.up}" if line.mqtt else "")


def _round_time(baud: int, meters: int, days: int) -> timedelta:
    """Rough time to read so many daily freezes of all meters: characters on the wire and the
    meters' delay."""
    characters = meters * (days * DAY_CHARACTERS + CLOCK_CHARACTERS)
    on_the_wire = characters * CHARACTER_BITS / baud
    return timedelta(seconds=on_the_wire + meters * (2 * days + 2) * ANSWER_DELAY_S)


def _short(time: timedelta) -> str:
    return str(timedelta(seconds=round(time.total_seconds())))
