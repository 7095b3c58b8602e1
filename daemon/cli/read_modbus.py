"""The Modbus side of `meterd read`: quantities by register profile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import click

from config.profiles import load_profile
from daemon.cli.connection import wire_trace
from daemon.cli.output import fail, print_json, print_table
from protocols.channels.conversation import Conversation, Timing
from protocols.channels.streams import StreamChannel
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply
from protocols.modbus.exchanges import codec_rtu, codec_tcp, read_quantities, read_relay
from protocols.modbus.profile import Profile
from protocols.reading import Quantity

CODECS: Final = {"modbus-rtu": codec_rtu, "modbus-tcp": codec_tcp}
RELAY: Final = "relay"
WHAT_TO_TRY: Final = (
    "Check the unit, the speed and parity (9600 8N1 or 8E1 for most Modbus meters), and whether the other side speaks "
    "Modbus TCP or RTU (--protocol); --trace shows the bytes."
)
GROUPS: Final = {
    "energy": "forward_active_energy",
    "voltage": "voltage",
    "current": "current",
    "power": "active_power",
}
"""A word for all quantities whose names begin so."""


@dataclass(frozen=True, slots=True)
class ModbusQuestion:
    """What is to be asked: names of quantities, of groups, or `relay`."""

    protocol: str
    unit: int
    profile: str
    names: tuple[str, ...]
    timing: Timing
    trace: bool


Row = tuple[str, Decimal | str | None, str]
"""Name, value and unit; None where the meter has no value."""


def read_modbus(channel: StreamChannel, question: ModbusQuestion, *, as_json: bool) -> None:
    """Read and print."""
    try:
        rows = asyncio.run(_ask(channel, question))
    except NoReply as error:
        raise fail(f"{error}\n{WHAT_TO_TRY}") from None
    except (LineDown, MeterRefused, FrameError) as error:
        raise fail(str(error)) from None
    _print(question, rows, as_json=as_json)


async def _ask(channel: StreamChannel, question: ModbusQuestion) -> list[Row]:
    """What the meter says. UsageError for a name that the profile does not have; ConfigError for
    its mistakes."""
    profile = load_profile(question.profile)
    quantities = _quantities(profile, [name for name in question.names if name != RELAY])
    async with channel:
        conversation = Conversation(
            channel,
            CODECS[question.protocol],
            line=channel.name,
            timing=question.timing,
            wire=wire_trace() if question.trace else None,
        )
        found = (
            await conversation.run(read_quantities(question.unit, profile, quantities))
            if quantities
            else {}
        )
        is_open = (
            await conversation.run(read_relay(question.unit, profile))
            if RELAY in question.names
            else None
        )
    rows: list[Row] = [(quantity.label, value, quantity.unit) for quantity, value in found.items()]
    if is_open is not None:
        rows.append((RELAY, "open" if is_open else "closed", ""))
    return rows


def _print(question: ModbusQuestion, rows: list[Row], *, as_json: bool) -> None:
    """One value as a line, several as a table."""
    if as_json:
        for name, value, unit in rows:
            print_json(
                {
                    "meter": str(question.unit),
                    "name": name,
                    "value": value,
                    "unit": unit,
                }
            )
    elif len(rows) == 1:
        ((_, value, unit),) = rows
        click.echo("no data" if value is None else f"{value} {unit}".rstrip())
    else:
        print_table(
            ["name", "value", "unit"],
            rows,
            title=f"unit {question.unit}, profile {question.profile}",
        )


def _quantities(profile: Profile, names: Iterable[str]) -> list[Quantity]:
    known = {quantity.label: quantity for quantity in profile.quantities()}
    chosen: dict[Quantity, None] = {}
    for name in names:
        begin = GROUPS.get(name)
        meant = (
            [name]
            if name in known
            else [label for label in known if begin and label.startswith(begin)]
        )
        if not meant:
            raise click.UsageError(
                f"--quantity {name}: profile {profile.name} has {', '.join([*GROUPS, *known])}"
                + (f" and {RELAY}" if profile.relay else "")
            )
        chosen |= dict.fromkeys(known[label] for label in meant)
    return list(chosen)
