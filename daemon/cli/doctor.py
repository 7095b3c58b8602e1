"""`meterd doctor`: what is wrong with a line, by listening and by a few harmless questions."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from config.lines import LineKind, LineSpec, configured_lines
from config.load import load_site
from config.meters import Meter
from config.problems import did_you_mean
from config.settings import LineSection
from config.translation import ENGLISH, LANGUAGES, words_of
from daemon.api.asking import is_running
from daemon.cli.connection import (
    Place,
    Seconds,
    WhichMeters,
    place_options,
    speed_options,
    wire_trace,
)
from daemon.cli.gathered import gathered
from daemon.cli.output import FAILED, as_json, echo, fail, print_json
from daemon.cli.zone import Whose, zone_options
from daemon.field.connection import Speed
from daemon.field.doctor.asking import examine
from daemon.field.doctor.causes import TITLES, Cause, Diagnosis
from daemon.field.doctor.diagnosis import diagnose
from daemon.field.doctor.evidence import (
    CODECS,
    MODBUS_RTU,
    MODBUS_TCP,
    KnownMeter,
    Patience,
    Step,
    Subject,
)
from daemon.field.language import DLT645_2007
from protocols.errors import LineDown

LISTEN_S: Final = Patience().listen_s
HIGHEST_UNIT: Final = 255
TIMEOUT_S: Final = 1.0
"""What a line of a site waits for an answer."""


@dataclass(frozen=True, slots=True)
class _Patient:
    """The line to be examined."""

    place: Place
    subject: Subject


@dataclass(frozen=True, slots=True)
class _Hearing:
    """How it is listened."""

    timeout: float
    listen_s: float
    trace: bool


@click.command()
@click.argument("line", required=False)
@place_options
@click.option(
    "--meter",
    "meters",
    multiple=True,
    metavar="ADDRESS|UNIT",
    help="12 digits, or of Modbus the unit; may be repeated. Default: whoever answers.",
)
@click.option(
    "--protocol",
    type=click.Choice([*CODECS]),
    default=DLT645_2007,
    show_default=True,
    help="What the meters should speak.",
)
@speed_options(baud=2400, parity="E")
@click.option(
    "--timeout",
    type=Seconds(0.05),
    default=TIMEOUT_S,
    show_default=True,
    help="Seconds after which an answer is late.",
)
@click.option(
    "--listen",
    "listen_s",
    type=click.FloatRange(0, 3600),
    default=LISTEN_S,
    show_default=True,
    help="Seconds to listen before and after the questions; another master may poll seldom.",
)
@click.option("--trace", is_flag=True, help="Show the bytes of the line on standard error.")
@click.option("--language", type=click.Choice(LANGUAGES), default=ENGLISH, show_default=True)
@zone_options
@as_json
@gathered("which", WhichMeters)
@gathered("hearing", _Hearing)
def doctor(
    *,
    line: str | None,
    place: Place,
    which: WhichMeters,
    speed: Speed,
    hearing: _Hearing,
    language: str,
    whose: Whose,
    as_json: bool,
) -> None:
    """Say what is wrong with a line: listen, ask a few harmless questions, judge what came.

    LINE is a line of the site, whose meters, speed and timeout are those of its files; else name
    --serial or --tcp, and --meter for each meter that should be there. Only reads are sent. It
    takes half a minute, and up to two where nobody answers. A line that the daemon holds is left to
    it. Exit code 0 when nothing is wrong, else 1."""
    if line is not None:
        patient = _of_site(line, place, whose.site_path)
    else:
        speed = speed if place.serial else Speed()
        place.channel(speed)  # which says what is wrong with the options
        subject = Subject(
            speed,
            tuple(_known(name, which.protocol) for name in which.meters),
            which.protocol,
            hearing.timeout,
            whose.known(),
            has_speed=place.serial is not None,
            place=_options(place, speed),
        )
        patient = _Patient(place, subject)
    patience = replace(patient.subject.patience, listen_s=hearing.listen_s)
    diagnoses = _examined(patient.place, replace(patient.subject, patience=patience), hearing.trace)
    say = words_of(language)
    if as_json:
        for diagnosis in diagnoses:
            print_json(
                {
                    "cause": diagnosis.cause.value,
                    "confidence": diagnosis.confidence,
                    "title": say(TITLES[diagnosis.cause]),
                    "because": say(diagnosis.because),
                    "next_step": say(diagnosis.next_step),
                    "meters": diagnosis.meters,
                }
            )
    else:
        _print(diagnoses, say)
    if diagnoses[0].cause is not Cause.NOTHING:
        raise SystemExit(FAILED)


def _print(diagnoses: Sequence[Diagnosis], say: Callable[[str], str]) -> None:
    for diagnosis in diagnoses:
        echo(f"{diagnosis.confidence:3} %  {say(TITLES[diagnosis.cause])}")
        echo(f"       {say(diagnosis.because)}")
        echo(f"       -> {say(diagnosis.next_step)}")


def _examined(place: Place, subject: Subject, trace: bool) -> list[Diagnosis]:
    async def listen(on_step: Callable[[Step], None]) -> list[Diagnosis]:
        evidence = await examine(
            place.channel,
            subject,
            now=lambda: datetime.now(UTC),
            wire=wire_trace() if trace else None,
            on_step=on_step,
        )
        return diagnose(subject, evidence)

    try:
        with _shown() as on_step:
            return asyncio.run(listen(on_step))
    except LineDown as error:
        raise fail(
            f"{error}\nWho holds a serial port is told by meterd ports; a running daemon holds all "
            "lines of its site: doctor LINE says what can be done beside it"
        ) from None


@contextmanager
def _shown() -> Iterator[Callable[[Step], None]]:
    """What is asked at the moment, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    with Console(stderr=True).status("listening") as status:
        yield lambda step: status.update(
            f"{step.aim.value} {step.meter} {step.protocol} {step.speed}".replace("  ", " ")
        )


def _options(place: Place, speed: Speed) -> str:
    """What names the place to other commands."""
    if place.tcp is not None:
        return f"--tcp {place.tcp[0]}:{place.tcp[1]}"
    return f"--serial {place.serial} --baud {speed.baud} --parity {speed.parity}"


def _known(name: str, protocol: str) -> KnownMeter:
    if protocol in (MODBUS_RTU, MODBUS_TCP):
        if not name.isdecimal() or not name.isascii() or int(name) > HIGHEST_UNIT:
            raise click.UsageError(f"--meter {name}: a Modbus unit is a number up to 255")
        return KnownMeter(protocol, str(int(name)))
    if not re.fullmatch("[0-9]{12}", name):
        raise click.UsageError(f"--meter {name}: the address of a DL/T 645 meter has 12 digits")
    return KnownMeter(protocol, name)


# --- a line of the site


def _of_site(name: str, place: Place, site_path: Path) -> _Patient:
    """The line as the files have it. UsageError, ConfigError; Failure where the daemon holds it."""
    if place.tcp is not None or place.serial is not None:
        raise click.UsageError("give either LINE, or --serial or --tcp")
    site = load_site(site_path)
    every = {spec.name: spec for spec in configured_lines(site)}
    if name not in every:
        raise click.UsageError(f"no line {name!r} in {site_path}{did_you_mean(name, every)}")
    settings = every[name].settings
    if not isinstance(settings, LineSection) or settings.mqtt is not None:
        raise fail(_not_by_wire(every[name]))
    if every[name].enabled and is_running(site.settings.site.data_directory):
        raise fail(
            f"the daemon holds {name}. Stop it, or set enabled = false for this line and reload; "
            f"then ask again. Beside it, hear it: meterd trace {name}; or make it talk: "
            f"meterd collect --line {name} --what clock"
        )
    # A line that is switched off has its meters, too.
    meters = [meter for meter in site.archive.meters if meter.line == name]
    place = Place(settings.tcp, settings.serial)
    speed = Speed()
    if settings.serial is not None:
        speed = Speed(settings.baud, settings.parity, settings.data_bits, settings.stop_bits)
    subject = Subject(
        speed,
        tuple(_known_in_files(meter) for meter in meters),
        timeout_s=settings.reply_timeout_s,
        zone=site.settings.site.zone,
        has_speed=settings.serial is not None,
        place=_options(place, speed),
    )
    return _Patient(place, subject)


def _known_in_files(meter: Meter) -> KnownMeter:
    # A Modbus meter is called LINE/UNIT.
    return KnownMeter(meter.protocol, meter.address.rpartition("/")[2])


def _not_by_wire(spec: LineSpec) -> str:
    name = spec.name
    if spec.kind is LineKind.TERMINAL:
        return (
            f"{name} is a terminal that calls the daemon: meterd terminals and meterd trace {name}"
        )
    return f"{name} is behind a broker: meterd trace {name} shows what comes from it"
