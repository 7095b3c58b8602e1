"""`meterd probe`: a raw block of Modbus registers, read in every way they could be meant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import click
from rich.table import Table
from rich.text import Text

from daemon.cli.connection import channel_to, line_options, wire_trace
from daemon.cli.output import as_json, console, fail, print_json, print_table
from daemon.cli.read_modbus import CODECS, WHAT_TO_TRY
from protocols.channels.conversation import Conversation, Timing
from protocols.channels.streams import StreamChannel
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply
from protocols.modbus.blocks import Block
from protocols.modbus.exchanges import read_block
from protocols.modbus.frame import MOST_REGISTERS
from protocols.modbus.probing import SCALES, Guess, Reading, best, readings

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


@click.command(short_help="Show what Modbus registers could mean.")
@line_options(baud=9600, parity="N")
@click.option(
    "--protocol",
    type=click.Choice([*CODECS]),
    help="Default: modbus-rtu on --serial, modbus-tcp on --tcp.",
)
@click.option(
    "--unit",
    type=click.IntRange(0, 255),
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
    type=click.IntRange(1, MOST_REGISTERS),
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
    tcp: tuple[str, int] | None,
    serial: str | None,
    baud: int,
    parity: str,
    timeout: float,
    retries: int,
    trace: bool,
    protocol: str | None,
    unit: int,
    register: int,
    count: int,
    function: str,
    only_best: bool,
    as_json: bool,
) -> None:
    """Read COUNT registers and print them in every type, word order and scale; what is plausible is
    told, and the likeliest readings that share no register are marked with a star.

    Registers are counted from 0: a manual that begins with 1, 30001 or 40001 says so much more."""
    channel = channel_to(tcp, serial, baud, parity)
    codec = CODECS[protocol or ("modbus-tcp" if tcp else "modbus-rtu")]
    block = Block(int(function), register, count)

    async def ask(channel: StreamChannel) -> tuple[int, ...]:
        async with channel:
            timing = Timing(reply_timeout_s=timeout, retries=retries)
            conversation = Conversation(
                channel,
                codec,
                line=channel.name,
                timing=timing,
                wire=wire_trace() if trace else None,
            )
            return await conversation.run(read_block(unit, block))

    try:
        registers = asyncio.run(ask(channel))
    except NoReply as error:
        raise fail(f"{error}\n{WHAT_TO_TRY}") from None
    except (LineDown, MeterRefused, FrameError) as error:
        raise fail(str(error)) from None
    found = list(readings(register, registers))
    likeliest = best(found)
    if as_json:
        _print_as_json(
            unit,
            block,
            registers,
            likeliest if only_best else found,
            likeliest,
        )
    else:
        _print(
            unit,
            block,
            registers,
            likeliest if only_best else found,
            likeliest,
        )


def _print_as_json(
    unit: int,
    block: Block,
    registers: Sequence[int],
    found: list[Reading],
    likeliest: list[Reading],
) -> None:
    print_json(
        {
            "unit": unit,
            "function": block.function,
            "register": block.register,
            "registers": list(registers),
        }
    )
    for reading in found:
        print_json(
            {
                "register": reading.register,
                "type": reading.type,
                "order": reading.order,
                "values": {str(scale): reading.number * scale for scale in SCALES},
                "looks_like": [
                    {
                        "quantity": it.quantity,
                        "value": it.value,
                        "unit": it.unit,
                        "scale": it.scale,
                    }
                    for it in reading.guesses
                ],
                "best": reading in likeliest,
            }
        )


def _print(
    unit: int,
    block: Block,
    registers: Sequence[int],
    found: list[Reading],
    likeliest: list[Reading],
) -> None:
    words = " ".join(f"{register:04X}" for register in registers)
    title = f"unit {unit}, function {block.function}, from {block.register} ({block.register:04X}): {words}"
    screen = console()
    if not screen.is_terminal:
        click.echo(title)
        print_table(HEAD, [_row(reading, reading in likeliest) for reading in found])
        return
    screen.print(Text(title, style="bold"))
    table = Table(header_style="bold")
    for name in HEAD:
        table.add_column(name, justify="right" if name.startswith("x ") else "left")
    for reading in found:
        is_best = reading in likeliest
        table.add_row(
            *_row(reading, is_best),
            style="bold green" if is_best else "" if reading.guesses else "dim",
        )
    screen.print(table)


def _row(reading: Reading, is_best: bool) -> tuple[str, ...]:
    where = f"{reading.register} ({reading.register:04X})"
    scaled = (_short(reading.number * scale) for scale in SCALES)
    told = _in_words(reading.guesses[0]) if reading.guesses else ""
    return where, reading.type, reading.order, *scaled, f"* {told}" if is_best else told


def _in_words(guess: Guess) -> str:
    """The likeliest guess; --json has all."""
    value = f"{_short(guess.value)} {guess.unit}".rstrip()
    return f"{guess.quantity} {value} (x {guess.scale})"


def _short(number: Decimal) -> str:
    """A number that no meter means is told in few digits."""
    is_odd = abs(number) >= WIDEST or 0 < abs(number) < NARROWEST
    return f"{number:.4E}" if is_odd else f"{number:f}"
