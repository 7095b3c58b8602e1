"""meterd init: the files of a first site."""

from __future__ import annotations

import tempfile
from datetime import date, datetime
from pathlib import Path
from typing import Final

import click

from config.first_site import NewLine, NewSite, files_of
from config.load import load_site
from config.problems import ConfigError
from daemon.cli.output import BAD_CONFIG, echo, fail
from daemon.cli.typed import Day, Text, typed

DEFAULT_BAUD: Final = 2400
DEFAULT_PRICE: Final = "0.5283"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", type=Text(), help="What the site is called.")
@click.option("--zone", type=Text(), help="Its time zone, such as Asia/Shanghai.")
@click.option(
    "--serial",
    "serials",
    multiple=True,
    metavar="LINE=PORT[,BAUD]",
    help=f"A serial line, such as bus-1=/dev/ttyUSB0,9600; {DEFAULT_BAUD} baud if none is said.",
)
@click.option(
    "--tcp", "tcps", multiple=True, metavar="LINE=HOST:PORT", help="A concentrator or converter."
)
@click.option(
    "--meter", "meters", multiple=True, metavar="LINE=ADDRESS", help="A meter of a line: 12 digits."
)
@click.option("--price", type=Text(), help="Yuan per kWh; more forms in tariffs.toml later.")
@click.option("--since", type=Day(), help="Since when the meters hang there; default: today.")
def init(
    folder: Path,
    name: str | None,
    zone: str | None,
    serials: tuple[str, ...],
    tcps: tuple[str, ...],
    meters: tuple[str, ...],
    price: str | None,
    since: date | None,
) -> None:
    """Write the files of a first site into a new FOLDER, and check them.

    What no option says is asked for on a terminal. Nothing that is there is overwritten. Each meter
    gets a point and an account of its own, called as its address; what they are really called is
    for you to write. The site is in shadow mode: nobody is cut.

    Meters whose addresses nobody knows are found by `meterd scan`."""
    asked = _asked(name=name, zone=zone, price=price)
    lines = [*map(_serial, serials), *map(_tcp, tcps)] or _asked_lines()
    pairs = [_pair(meter, "--meter") for meter in meters] or _asked_meters(lines)
    site = NewSite(
        asked["name"],
        asked["zone"],
        lines,
        pairs,
        asked["price"],
        since or datetime.now().astimezone().date(),
    )
    _write(folder, files_of(site))
    at = folder / "meterd.toml"
    echo(f"{at}: {len(lines)} lines, {len(pairs)} meters, control shadow. Next:")
    echo(f"  meterd check -c {at}")
    echo(f"  meterd run -c {at}")


def _write(folder: Path, files: dict[str, str]) -> None:
    """All of them or none: what `meterd check` refuses is not left behind."""
    if folder.exists() and any(folder.iterdir()):
        raise fail(f"{folder} holds files already; name a folder that is new or empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".init-", dir=folder.parent) as scratch:
        for name, text in files.items():
            path = Path(scratch, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        try:
            load_site(Path(scratch, "meterd.toml"))
        except ConfigError as error:
            echo(str(error), err=True)
            echo("nothing was written", err=True)
            raise SystemExit(BAD_CONFIG) from None
        folder.mkdir(exist_ok=True)
        for name in files:
            place = folder / name
            place.parent.mkdir(exist_ok=True)
            Path(scratch, name).rename(place)


def _asked(**answers: str | None) -> dict[str, str]:
    questions = {
        "name": ("What is the site called", None),
        "zone": ("Its time zone", "Asia/Shanghai"),
        "price": ("Price of a kWh in yuan", DEFAULT_PRICE),
    }
    return {key: answer or _ask(*questions[key], f"--{key}") for key, answer in answers.items()}


def _ask(question: str, default: str | None, option: str) -> str:
    return str(typed(question, Text(), option, default))


def _asked_lines() -> list[NewLine]:
    lines: list[NewLine] = []
    while True:
        name = f"line-{len(lines) + 1}"
        place = _ask(
            "Serial port, or HOST:PORT of a concentrator" + (" (none to end)" if lines else ""),
            "none" if lines else None,
            "--serial or --tcp",
        )
        if place == "none":
            return lines
        lines.append(
            _serial(f"{name}={place}") if place.startswith("/") else _tcp(f"{name}={place}")
        )


def _asked_meters(lines: list[NewLine]) -> list[tuple[str, str]]:
    return [
        (line.name, address)
        for line in lines
        for address in _ask(f"Addresses of the meters of {line.place}", None, "--meter").split()
    ]


def _serial(text: str) -> NewLine:
    name, place = _pair(text, "--serial")
    port, comma, baud = place.partition(",")
    if comma and not (baud.isascii() and baud.isdecimal()):
        raise click.UsageError(f"--serial {text}: {baud or 'nothing'} is no number of baud")
    return NewLine(name, port, int(baud) if comma else DEFAULT_BAUD)


def _tcp(text: str) -> NewLine:
    name, place = _pair(text, "--tcp")
    return NewLine(name, place, None)


def _pair(text: str, option: str) -> tuple[str, str]:
    line, equals, value = text.partition("=")
    if not (line and equals and value):
        raise click.UsageError(f"{option} {text}: write LINE=..., such as bus-1=...")
    return line, value
