"""`meterd decode`: what the bytes on a line say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.text import Text

from daemon.cli.output import as_json, console, print_json, with_unit
from daemon.field.decode import (
    AUTO,
    MODBUS,
    MODBUS_KINDS,
    MOST_BYTES,
    describe_bytes,
    describe_recording,
    streams_of,
)
from protocols.dlt645.describe.description import FrameDescription
from protocols.dlt645.describe.frames import PROTOCOLS
from protocols.dlt645.describe.hex_text import parse_hex
from protocols.dlt645.identifiers import chinese_names
from protocols.dlt645.values import Value
from protocols.errors import FrameError


@click.command()
@click.argument("streams", metavar="HEX...", nargs=-1)
@click.option(
    "--file",
    "files",
    metavar="PATH",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of hexadecimal lines, or a binary recording.",
)
@click.option(
    "--protocol",
    type=click.Choice([AUTO, *PROTOCOLS, MODBUS, *MODBUS_KINDS]),
    default=AUTO,
    show_default=True,
    help="auto finds it out for each frame.",
)
@as_json
def decode(streams: tuple[str, ...], files: tuple[Path, ...], protocol: str, as_json: bool) -> None:
    """Decode DL/T 645 and Modbus frames given in hexadecimal.

    Blanks, 0x, colons, commas and line breaks do no harm. Each HEX is a stream of its own; - or
    nothing reads one stream from standard input. In a file of hexadecimal each line is one.
    Passwords inside frames are shown only as raw bytes."""
    if not streams and not files and sys.stdin.isatty():
        raise click.UsageError(
            "give the bytes in hexadecimal, or - to read them from standard input"
        )
    if not streams and not files:
        streams = ("-",)
    # All arguments are understood before the first is printed; files may be too long for that.
    given = [describe_bytes(data, protocol) for data in map(_bytes, _joined(streams))]
    for frames in given:
        _print(frames, as_json)
    for frames in _of_files(files, protocol):
        _print(frames, as_json)


def _joined(streams: tuple[str, ...]) -> tuple[str, ...]:
    """Bytes with blanks between them and without quotes are one stream, not many."""
    are_bytes = len(streams) > 1 and all(len(text) <= 2 for text in streams)
    return ("".join(text.zfill(2) for text in streams),) if are_bytes else streams


def _bytes(text: str) -> bytes:
    where = "HEX"
    if text == "-":
        where = "standard input"
        text = _standard_input().decode("utf-8", "replace")
    try:
        return parse_hex(text)
    except FrameError as error:
        raise click.BadParameter(str(error), param_hint=where) from None


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise click.UsageError(f"standard input has more than {MOST_BYTES} bytes")
    return data


def _of_files(files: tuple[Path, ...], protocol: str) -> Iterator[list[FrameDescription]]:
    for path in files:
        try:
            streams = streams_of(path)
        except FrameError as error:
            raise click.BadParameter(str(error), param_hint=str(path)) from None
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            raise click.BadParameter(message, param_hint=str(path)) from None
        yield from describe_recording(streams, protocol)


def _print(frames: list[FrameDescription], as_json: bool) -> None:
    for frame in frames:
        if as_json:
            print_json(frame)
        else:
            show(frame)


def show(frame: FrameDescription) -> None:
    """Print it for a person."""
    screen = console()
    if "skipped" in frame:
        words = f"skipped ({frame['reason']}): {_spaced(frame['skipped'])}"
        screen.print(Text(words, style="yellow"))
        return
    toward = "from" if frame["direction"] == "response" else "to"
    head = f"{frame['function']} {frame['direction']} {toward} {frame['address']}"
    follows = ", more follows" if frame["follow"] else ""
    screen.print(Text.assemble((head, "bold"), f"  control {frame['control']}{follows}"))
    if frame["identifier"]:
        screen.print(Text(f"  identifier {frame['identifier']}"))
    for line in _values_in_words(frame):
        screen.print(Text(line))
    if frame["error"]:
        screen.print(Text(f"  wrong: {frame['error']['text']}", style="red"))
    screen.print(Text(f"  {_spaced(frame['raw'])}", style="dim"))


def _values_in_words(frame: FrameDescription) -> Iterator[str]:
    """Names in one column, and in Chinese where the table of identifiers has them."""
    identifier = frame["identifier"]
    chinese: dict[str, str] = {}
    if identifier and frame["protocol"] in PROTOCOLS:
        chinese = chinese_names(identifier)
    values = [Value(**value) for value in frame["values"]]
    width = max((len(value.name) for value in values), default=0)
    for value in values:
        shown = with_unit(value.value, value.unit)
        yield f"  {value.name:{width}}  {shown}  {chinese.get(value.name, '')}".rstrip()


def _spaced(digits: str) -> str:
    return " ".join(digits[i : i + 2] for i in range(0, len(digits), 2))
