"""`meterd decode`: what the bytes on a line say."""

from __future__ import annotations

import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path
from typing import Any, Final

import click
from rich.text import Text

from daemon.cli.output import as_json, console, print_json
from protocols.dlt645.describe.frames import PROTOCOLS, describe_stream, parse_hex
from protocols.dlt645.identifiers import chinese_names
from protocols.dlt645.values import Value
from protocols.errors import FrameError

Told = dict[str, Any]
"""One frame or one skipped stretch, ready for JSON."""
AUTO: Final = "auto"
MODBUS: Final = "modbus"
MODBUS_KINDS: Final = ("modbus-rtu", "modbus-tcp", "modbus-pdu")
MODBUS_FUNCTIONS: Final = (1, 2, 3, 4, 5, 6, 15, 16)
DLT645_BEGINS: Final = b"\x68\xfe"
NOISE: Final = "noise"


@click.command(short_help="Say what the bytes on a line mean.")
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
    """Decode DL/T 645 and Modbus frames given in hexadecimal; blanks, 0x, colons, commas and line
    breaks do no harm.

    Each HEX is a stream of its own; - or nothing reads one stream from standard input. In a file of
    hexadecimal each line is one. Passwords inside frames are shown only as raw bytes."""
    if not streams and not files and sys.stdin.isatty():
        raise click.UsageError(
            "give the bytes in hexadecimal, or - to read them from standard input"
        )
    if len(streams) > 1 and all(len(text) <= 2 for text in streams):
        streams = (
            "".join(text.zfill(2) for text in streams),
        )  # bytes with blanks between them, not in quotes
    decoded = [
        item
        for text in streams or (() if files else ("-",))
        for item in tell(_bytes(text), protocol)
    ]
    for item in decoded:
        _print(item, as_json)
    for path in files:
        for told in _tell_all(_streams_of(path), protocol):
            for item in told:
                _print(item, as_json)


def tell(data: bytes, protocol: str = AUTO) -> list[Told]:
    """Everything in the bytes, in order. Without a protocol they are DL/T 645 if anything in them
    is, even damaged; else Modbus, if that accounts for all of them or they are one damaged frame
    with a usual function."""
    if protocol in PROTOCOLS:
        return [item.as_dict() for item in describe_stream(data, protocol)]
    if protocol != AUTO:
        return _tell_modbus(data, protocol)
    told = [item.as_dict() for item in describe_stream(data)]
    if any(item.get("reason") != NOISE for item in told):
        return told
    as_modbus = _tell_modbus(data, MODBUS)
    if all("skipped" not in item for item in as_modbus):
        return as_modbus
    is_one_damaged = len(as_modbus) == 1 and as_modbus[0]["reason"] != NOISE and len(data) > 1
    return (
        as_modbus
        if is_one_damaged and data[0] not in DLT645_BEGINS and data[1] in MODBUS_FUNCTIONS
        else told
    )


def _tell_modbus(data: bytes, protocol: str) -> list[Told]:
    from protocols.modbus import (
        describe,
    )  # pymodbus takes a tenth of a second to import: only when it is needed

    by_name = {
        MODBUS: describe.describe_any,
        "modbus-rtu": describe.describe_rtu,
        "modbus-tcp": describe.describe_tcp,
        "modbus-pdu": describe.describe_pdu,
    }
    return by_name[protocol](data)


def _bytes(text: str) -> bytes:
    where = "HEX"
    if text == "-":
        where, text = "standard input", sys.stdin.buffer.read().decode("utf-8", "replace")
    try:
        return parse_hex(text)
    except FrameError as error:
        raise click.BadParameter(str(error), param_hint=where) from None


def _print(item: Told, as_json: bool) -> None:
    if as_json:
        print_json(item)
    else:
        show(item)


def show(item: Told) -> None:
    """Print it for a person."""
    screen = console()
    if "skipped" in item:
        screen.print(
            Text(f"skipped ({item['reason']}): {_spaced(item['skipped'])}", style="yellow")
        )
        return
    toward = "from" if item["direction"] == "response" else "to"
    head = f"{item['function']} {item['direction']} {toward} {item['address']}"
    screen.print(
        Text.assemble(
            (head, "bold"), f"  control {item['control']}{', more follows' * item['follow']}"
        )
    )
    identifier = item["identifier"]
    if identifier:
        screen.print(Text(f"  identifier {identifier}"))
    chinese = chinese_names(identifier) if identifier and item["protocol"] in PROTOCOLS else {}
    values = [Value(**value) for value in item["values"]]
    width = max((len(value.name) for value in values), default=0)
    for value in values:
        screen.print(
            Text(
                f"  {value.name:{width}}  {in_words(value)}  {chinese.get(value.name, '')}".rstrip()
            )
        )
    if item["error"]:
        screen.print(Text(f"  wrong: {item['error']['text']}", style="red"))
    screen.print(Text(f"  {_spaced(item['raw'])}", style="dim"))


def in_words(value: Value) -> str:
    """The value with its unit; `no data` where the meter has none."""
    return "no data" if value.value is None else f"{value.value} {value.unit}".rstrip()


def _spaced(digits: str) -> str:
    return " ".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def _tell_all(streams: list[bytes], protocol: str) -> list[list[Told]]:
    """What each of many streams says. Numbers of alike frames are decoded together."""
    from protocols.dlt645.describe.recordings import (
        cut,
        describe_streams,
    )  # numpy: only when a file is read

    if protocol not in (AUTO, *PROTOCOLS):
        return [tell(stream, protocol) for stream in streams]
    forced = None if protocol == AUTO else protocol
    pieces = cut(streams[0]) if len(streams) == 1 else None
    if pieces:
        told = describe_streams(pieces, forced)
        if not any("skipped" in item for items in told for item in items):
            return told
    return [
        tell(stream, protocol) if any(item.get("reason") == NOISE for item in items) else items
        for stream, items in zip(streams, describe_streams(streams, forced), strict=True)
    ]


def _streams_of(path: Path) -> list[bytes]:
    """Each line of a file of hexadecimal text, without what follows a #; bytes that are no text are
    one stream.

    A line of text that is no hexadecimal is a wrong use, told with its number: it could be the one
    that matters."""
    content = path.read_bytes()
    try:
        text = content.decode(
            "utf-16" if content[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig"
        )
    except UnicodeDecodeError:
        return [content]
    if not all(char.isprintable() or char.isspace() for char in text):
        return [content]
    streams = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            data = parse_hex(line.partition("#")[0])
        except FrameError as error:
            raise click.BadParameter(f"line {number}: {error}", param_hint=str(path)) from None
        if data:
            streams.append(data)
    return streams
