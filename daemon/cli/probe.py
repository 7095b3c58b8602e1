"""`meterd probe`: a raw block of Modbus registers, read in every way they could be meant."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import click
from rich.table import Table
from rich.text import Text

from daemon.cli.connection import line_options
from daemon.cli.output import as_json, console, echo, fail, print_json, print_table
from daemon.cli.read_modbus import WHAT_TO_TRY
from daemon.cli.typed import Whole
from daemon.field.connection import Connection
from daemon.field.probe import ProbeResult
from daemon.field.probe import probe as probe_block
from daemon.field.read_modbus import CODECS
from protocols.errors import NoReply
from protocols.modbus.blocks import Block
from protocols.modbus.functions import MOST_REGISTERS
from protocols.modbus.probing import SCALES, Guess, Reading

HEAD: Final = ("register", "type", "order", *(f"x {scale}" for scale in SCALES), "looks like")
WIDEST: Final = Decimal(10) ** 12
NARROWEST: Final = Decimal("0.000001")


def _register(ctx: click.Context, param: click.Parameter, text: str) -> int:
    try:
        register = int(text, 0)
    except ValueError:
        register = -1
    if not 0 <= register <= 0xFFFF:
        raise click.BadParameter(
            f"{text!r} is not a register from 0 to 65535, such as 72 or 0x0048 (counted from 0)"
        )
    return register


@click.command()
@line_options(baud=9600, parity="N")
@click.option(
    "--protocol",
    type=click.Choice([*CODECS]),
    help="Default: modbus-rtu on --serial, modbus-tcp on --tcp.",
)
@click.option(
    "--unit",
    type=Whole(0, 255),
    required=True,
    help="The meter's Modbus address.",
)
@click.option(
    "--address",
    "register",
    required=True,
    metavar="REGISTER",
    callback=_register,
    help="72 or 0x0048.",
)
@click.option(
    "--count",
    type=Whole(1, MOST_REGISTERS),
    default=2,
    show_default=True,
)
@click.option(
    "--function",
    type=click.Choice(["3", "4"]),
    default="3",
    show_default=True,
    help="3 holding, 4 input.",
)
@click.option(
    "--best",
    "only_best",
    is_flag=True,
    help="Only the likeliest reading of each register.",
)
@as_json
def probe(
    connection: Connection,
    protocol: str | None,
    unit: int,
    register: int,
    count: int,
    function: str,
    only_best: bool,
    as_json: bool,
) -> None:
    """Read COUNT registers and print them in every type, word order and scale.

    What is plausible is told, and the likeliest readings that share no register are marked with a
    star.

    Registers are counted from 0: a manual that begins with 1, 30001 or 40001 says so much more."""
    # A converter behind TCP may speak either: the usual one is tried, the hint names the other.
    if protocol is None:
        protocol = "modbus-rtu" if connection.speed.baud else "modbus-tcp"
    block = Block(int(function), register, count)
    try:
        result = asyncio.run(probe_block(connection, protocol, unit, block))
    except NoReply as error:
        raise fail(f"{error}\n{WHAT_TO_TRY}") from None
    shown = result.likeliest if only_best else result.readings
    if as_json:
        for row in _as_json(unit, block, result, shown):
            print_json(row)
    else:
        _print(_title(unit, block, result), result, shown)


def _as_json(
    unit: int, block: Block, result: ProbeResult, shown: list[Reading]
) -> Iterator[dict[str, Any]]:
    yield {
        "unit": unit,
        "function": block.function,
        "register": block.register,
        "registers": list(result.registers),
    }
    for reading in shown:
        yield {
            "register": reading.register,
            "type": reading.type,
            "order": reading.order,
            "values": {str(scale): reading.number * scale for scale in SCALES},
            "looks_like": [_guess_as_json(guess) for guess in reading.guesses],
            "best": reading in result.likeliest,
        }


def _guess_as_json(guess: Guess) -> dict[str, Any]:
    return {
        "quantity": guess.quantity,
        "value": guess.value,
        "unit": guess.unit,
        "scale": guess.scale,
    }


def _title(unit: int, block: Block, result: ProbeResult) -> str:
    words = " ".join(f"{register:04X}" for register in result.registers)
    return (
        f"unit {unit}, function {block.function}, "
        f"from {block.register} ({block.register:04X}): {words}"
    )


def _print(title: str, result: ProbeResult, shown: list[Reading]) -> None:
    screen = console()
    if not screen.is_terminal:
        echo(title)
        print_table(HEAD, [_row(reading, reading in result.likeliest) for reading in shown])
        return
    screen.print(Text(title, style="bold"))
    table = Table(header_style="bold")
    for name in HEAD:
        table.add_column(name, justify="right" if name.startswith("x ") else "left")
    for reading in shown:
        is_best = reading in result.likeliest
        table.add_row(*_row(reading, is_best), style=_style(reading, is_best))
    screen.print(table)


def _style(reading: Reading, is_best: bool) -> str:
    if is_best:
        return "bold green"
    return "" if reading.guesses else "dim"


def _row(reading: Reading, is_best: bool) -> tuple[str, ...]:
    where = f"{reading.register} ({reading.register:04X})"
    scaled = (_short(reading.number * scale) for scale in SCALES)
    meaning = _in_words(reading.guesses[0]) if reading.guesses else ""
    if is_best:
        meaning = f"* {meaning}"
    return where, reading.type, reading.order, *scaled, meaning


def _in_words(guess: Guess) -> str:
    """The likeliest guess; --json has all."""
    value = f"{_short(guess.value)} {guess.unit}".rstrip()
    return f"{guess.quantity} {value} (x {guess.scale})"


def _short(number: Decimal) -> str:
    """In few digits for a number that no meter means."""
    is_odd = abs(number) >= WIDEST or 0 < abs(number) < NARROWEST
    return f"{number:.4E}" if is_odd else f"{number:f}"
