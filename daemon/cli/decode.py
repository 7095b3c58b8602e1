"""`meterd decode`: what the bytes on a line say."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click
from rich.text import Text

from daemon.cli.output import as_json, console, print_json
from protocols.dlt645.describe import PROTOCOL, Description, SkippedBytes, describe_stream, parse_hex
from protocols.dlt645.values import Value
from protocols.errors import FrameError


@click.command(short_help="Say what the bytes on a line mean.")
@click.argument("streams", metavar="HEX...", nargs=-1)
@click.option("--protocol", type=click.Choice([PROTOCOL]), default=PROTOCOL, show_default=True)
@as_json
def decode(streams: tuple[str, ...], protocol: str, as_json: bool) -> None:
    """Decode frames given in hexadecimal; blanks, 0x, colons, commas and line breaks between bytes do no harm.

    Each HEX is a stream of its own; - or nothing reads one stream from standard input. Passwords inside frames are
    shown only as raw bytes.
    """
    if not streams and sys.stdin.isatty():
        raise click.UsageError("give the bytes in hexadecimal, or - to read them from standard input")
    decoded = [item for text in streams or ("-",) for item in describe_stream(_bytes(text))]
    for item in decoded:
        if as_json:
            print_json(asdict(item))
        else:
            _show(item)


def _bytes(text: str) -> bytes:
    where = "HEX"
    if text == "-":
        where, text = "standard input", sys.stdin.buffer.read().decode("utf-8", "replace")
    try:
        return parse_hex(text)
    except FrameError as error:
        raise click.BadParameter(str(error), param_hint=where) from None


def _show(item: Description | SkippedBytes) -> None:
    screen = console()
    if isinstance(item, SkippedBytes):
        screen.print(Text(f"skipped ({item.reason}): {_spaced(item.skipped)}", style="yellow"))
        return
    toward = "from" if item.direction == "response" else "to"
    head = f"{item.function} {item.direction} {toward} {item.address}"
    screen.print(Text.assemble((head, "bold"), f"  control {item.control}{', more follows' * item.follow}"))
    if item.identifier:
        screen.print(Text(f"  identifier {item.identifier}"))
    width = max((len(value.name) for value in item.values), default=0)
    for value in item.values:
        screen.print(Text(f"  {value.name:{width}}  {in_words(value)}"))
    if item.error:
        screen.print(Text(f"  wrong: {item.error.text}", style="red"))
    screen.print(Text(f"  {_spaced(item.raw)}", style="dim"))


def in_words(value: Value) -> str:
    """The value with its unit; `no data` where the meter has none."""
    return "no data" if value.value is None else f"{value.value} {value.unit}".rstrip()


def _spaced(digits: str) -> str:
    return " ".join(digits[i : i + 2] for i in range(0, len(digits), 2))
