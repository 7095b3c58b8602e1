"""`meterd read`: ask one meter over a given line, without daemon or database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import click

from daemon.cli.connection import channel_to, line_options, wire_trace
from daemon.cli.output import as_json, fail, print_json, print_table
from protocols.channels.conversation import Conversation, Timing
from protocols.channels.streams import StreamChannel
from protocols.dlt645 import exchanges, exchanges_1997, functions
from protocols.dlt645.frame import Frame
from protocols.dlt645.values import Value, decode_values
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply
from protocols.exchange import Codec, Exchange

ANY: Final = "any"
CLOCK: Final = "clock"
FREEZE: Final = "freeze"
DLT645: Final = "dlt645-2007"
DLT645_1997: Final = "dlt645-1997"
MODBUS: Final = ("modbus-rtu", "modbus-tcp")


@dataclass(frozen=True, slots=True)
class Language:
    """How a version of DL/T 645 is spoken. `quantities`: the identifiers to try in turn: a meter
    that knows no block is asked for the single value."""

    codec: Codec[Frame]
    read: Callable[[str, str], Exchange[Frame, bytes]]
    read_address: Callable[[], Exchange[Frame, str]]
    read_clock: Callable[[str], Exchange[Frame, datetime]]
    digits: int
    """Of an identifier."""
    quantities: Mapping[str, tuple[str, ...]]


LANGUAGES: Final = {
    DLT645: Language(
        exchanges.CODEC_2007,
        exchanges.read,
        exchanges.read_address,
        exchanges.read_clock,
        8,
        {
            "energy": ("00010000",),
            "voltage": ("0201FF00", "02010100"),
            "current": ("0202FF00", "02020100"),
            "power": ("0203FF00", "02030000"),
            "status": ("04000503",),
        },
    ),
    DLT645_1997: Language(
        exchanges_1997.CODEC_1997,
        exchanges_1997.read,
        exchanges_1997.read_address,
        exchanges_1997.read_clock,
        4,
        {
            "energy": ("9010",),
            "voltage": ("B61F", "B611"),
            "current": ("B62F", "B621"),
            "power": ("B63F", "B630"),
            "status": ("C020",),
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be asked. `meter` is 12 digits or `any`; without identifiers it is the quantity
    that counts."""

    protocol: str
    meter: str
    identifiers: tuple[str, ...]
    quantity: str
    timing: Timing
    trace: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """What the meter said. `clock` is its wall clock and `ahead_s` its distance to ours, None where
    it told none."""

    meter: str
    values: list[tuple[str, Value]]
    clock: datetime | None
    ahead_s: int | None


def _address(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    if text is None or text == ANY:
        return text
    if not re.fullmatch("[0-9]{1,12}", text):
        raise click.BadParameter(f"{text!r} is not the 12 digits on the meter's label, nor {ANY!r}")
    if len(text) < 12:
        raise click.BadParameter(
            f"{text!r} has {len(text)} digits, not 12; filled up with zeros it is {text:0>12}"
        )
    return text


def _identifiers(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    for text in texts:
        if not re.fullmatch("[0-9A-Fa-f]{8}|[0-9A-Fa-f]{4}", text):
            raise click.BadParameter(
                f"{text!r} is not 8 hexadecimal digits (DI3 DI2 DI1 DI0), such as 00010000, nor 4 as in 1997"
            )
    return tuple(text.upper() for text in texts)


@click.command()
@line_options(baud=2400, parity="E")
@click.option(
    "--meter",
    metavar="ADDRESS|any",
    callback=_address,
    help="12 digits, or any: ask for it.",
)
@click.option(
    "--protocol",
    type=click.Choice([*LANGUAGES, *MODBUS]),
    default=DLT645,
    show_default=True,
)
@click.option("--unit", type=click.IntRange(0, 255), help="Modbus: the meter's address.")
@click.option(
    "--profile", metavar="NAME|FILE", help="Modbus: the register profile (docs/modbus.md)."
)
@click.option(
    "--identifier",
    "identifiers",
    multiple=True,
    metavar="DI",
    callback=_identifiers,
    help="Such as 00010000.",
)
@click.option(
    "--quantity",
    "quantities",
    multiple=True,
    metavar="NAME",
    help="Default: energy.",
)
@as_json
def read(
    tcp: tuple[str, int] | None,
    serial: str | None,
    baud: int,
    parity: str,
    meter: str | None,
    protocol: str,
    unit: int | None,
    profile: str | None,
    identifiers: tuple[str, ...],
    quantities: tuple[str, ...],
    timeout: float,
    retries: int,
    trace: bool,
    as_json: bool,
) -> None:
    """Read one meter over a given line. Needs no daemon and no database.

    DL/T 645: --meter, and --identifier or one --quantity: energy, voltage, current, power, status,
    clock or, in 2007, freeze. The time behind a value is the meter's own clock. With --meter any
    there may be only one meter on the line.

    Modbus: --unit, --profile, and any number of --quantity as the profile names them, or energy,
    voltage, current, power, relay."""
    channel = channel_to(tcp, serial, baud, parity)
    timing = Timing(reply_timeout_s=timeout, retries=retries)
    if protocol in MODBUS:
        if unit is None or profile is None or meter or identifiers:
            raise click.UsageError(
                "a Modbus meter needs --unit and --profile, and neither --meter nor --identifier"
            )
        from daemon.cli.read_modbus import (
            ModbusQuestion,
            read_modbus,
        )  # pymodbus: only when it is needed

        question = ModbusQuestion(
            protocol,
            unit,
            profile,
            quantities or ("energy",),
            timing,
            trace,
        )
        read_modbus(channel, question, as_json=as_json)
        return
    if meter is None or unit is not None or profile is not None:
        raise click.UsageError("a DL/T 645 meter needs --meter, and neither --unit nor --profile")
    if identifiers and quantities:
        raise click.UsageError("give either --identifier or --quantity")
    language = LANGUAGES[protocol]
    known = (*language.quantities, CLOCK, *([FREEZE] if protocol == DLT645 else []))
    if len(quantities) > 1 or (quantities and quantities[0] not in known):
        raise click.UsageError(f"--quantity is one of {', '.join(known)}")
    if any(len(identifier) != language.digits for identifier in identifiers):
        raise click.UsageError(
            f"identifiers of {protocol} have {language.digits} hexadecimal digits"
        )
    asked = Question(
        protocol,
        meter,
        identifiers,
        quantities[0] if quantities else "energy",
        timing,
        trace,
    )
    try:
        answers = asyncio.run(_ask(channel, asked))
    except NoReply as error:
        raise fail(f"{error}\n{_what_to_try(serial, baud, parity, meter)}") from None
    except (LineDown, MeterRefused, FrameError) as error:
        raise fail(str(error)) from None
    if as_json:
        _print_as_json(answers)
    else:
        _print(answers)


async def _ask(channel: StreamChannel, question: Question) -> Answers:
    language = LANGUAGES[question.protocol]
    async with channel:
        conversation = Conversation(
            channel,
            language.codec,
            line=channel.name,
            timing=question.timing,
            wire=wire_trace() if question.trace else None,
        )
        meter = (
            await conversation.run(language.read_address())
            if question.meter == ANY
            else question.meter
        )
        values = await _values(conversation, meter, question)
        try:
            clock = await conversation.run(language.read_clock(meter), retries=0)
        except (MeterRefused, NoReply, FrameError):
            if question.quantity == CLOCK and not question.identifiers:
                raise
            return Answers(meter, values, None, None)
        here = datetime.now().astimezone().replace(tzinfo=None)
        return Answers(meter, values, clock, round((clock - here).total_seconds()))


async def _values(
    conversation: Conversation[Frame], meter: str, question: Question
) -> list[tuple[str, Value]]:
    """Each value with the identifier it was asked by."""
    language = LANGUAGES[question.protocol]
    if question.identifiers:
        found = []
        for identifier in question.identifiers:
            data = await conversation.run(language.read(meter, identifier))
            found += [(identifier, value) for value in decode_values(identifier, data)]
        return found
    if question.quantity == CLOCK:
        return []
    if question.quantity == FREEZE:
        return await _newest_freeze(conversation, meter)
    *first_choices, last_choice = language.quantities[question.quantity]
    for identifier in first_choices:
        try:
            data = await conversation.run(language.read(meter, identifier))
        except MeterRefused as refusal:
            if not refusal.word & functions.NO_SUCH_DATA:
                raise
        else:
            return [(identifier, value) for value in decode_values(identifier, data)]
    data = await conversation.run(language.read(meter, last_choice))
    return [(last_choice, value) for value in decode_values(last_choice, data)]


async def _newest_freeze(conversation: Conversation[Frame], meter: str) -> list[tuple[str, Value]]:
    freeze = await conversation.run(exchanges.read_daily_freeze(meter, 1, confirm=True))
    if freeze is None:
        raise fail(f"meter {meter} has no daily freeze yet")
    frozen_at = Value("frozen_at", freeze.frozen_at.isoformat(" ", "minutes"), "")
    registers = [
        Value(
            f"tariff_{number}" if number else "total",
            None if energy is None else str(energy),
            "kWh",
        )
        for number, energy in enumerate(freeze.registers)
    ]
    return [("05060001", frozen_at), *(("05060101", register) for register in registers)]


def _print_as_json(answers: Answers) -> None:
    about_clock = {"meter_time": answers.clock, "meter_ahead_s": answers.ahead_s}
    if not answers.values:
        print_json({"meter": answers.meter, **about_clock})
    for identifier, value in answers.values:
        told = {
            "name": value.name,
            "value": value.value,
            "unit": value.unit,
        }
        print_json(
            {
                "meter": answers.meter,
                "identifier": identifier,
                **told,
                **about_clock,
            }
        )


def _print(answers: Answers) -> None:
    at = f" at {answers.clock:%Y-%m-%d %H:%M:%S}" if answers.clock else ""
    if not answers.values:
        click.echo(f"meter {answers.meter}{at}, {_ahead(answers.ahead_s or 0)} this machine")
    elif len(answers.values) == 1:
        value = answers.values[0][1]
        click.echo(
            f"{'no data' if value.value is None else f'{value.value} {value.unit}'.rstrip()}{at}"
        )
    else:
        print_table(
            ["name", "value", "unit"],
            [(value.name, value.value, value.unit) for _, value in answers.values],
            title=f"meter {answers.meter}{at}",
        )


def _ahead(seconds: int) -> str:
    return f"{abs(seconds)} s {'ahead of' if seconds >= 0 else 'behind'}"


def _what_to_try(serial: str | None, baud: int, parity: str, meter: str) -> str:
    speed = (
        f"the speed (--baud 2400 or 9600; now {baud}) and parity (8E1 for most meters; now 8{parity}1)"
        if serial
        else "that the converter runs at the meter's speed and parity (2400 8E1 for most meters)"
    )
    address = (
        "that there is exactly one meter on the line"
        if meter == ANY
        else "the address (--meter any finds it when only one meter is on the line)"
    )
    return f"Check the wires (A and B swapped?), {speed}, and {address}; --trace shows the bytes."
