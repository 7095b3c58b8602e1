"""`meterd read`: ask one meter over a given line, without daemon or database."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Final
from zoneinfo import ZoneInfo

import click

from daemon.cli.connection import line_options
from daemon.cli.gathered import gathered
from daemon.cli.output import as_json, echo, fail, print_json, print_table, with_unit
from daemon.cli.typed import Whole
from daemon.cli.zone import Whose, zone_options
from daemon.field.connection import Connection, Speed
from daemon.field.language import DLT645_2007, LANGUAGES
from daemon.field.read import ANY, ReadRequest, ReadResult, quantities
from daemon.field.read import read as read_meter
from protocols.dlt645.frame import BROADCAST
from protocols.errors import NoReply

MODBUS: Final = ("modbus-rtu", "modbus-tcp")
MODBUS_OPTIONS: Final = (
    "a Modbus meter needs --unit and --profile, and neither --meter nor --identifier"
)
DEFAULT_QUANTITY: Final = "energy"
HIGHEST_RTU_UNIT: Final = 247


@dataclass(frozen=True, slots=True)
class WhichMeter:
    """The meter that is asked, by the names of two protocols; as it was typed."""

    meter: str | None
    protocol: str
    unit: int | None
    profile: str | None


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
                f"{text!r} is not 8 hexadecimal digits (DI3 DI2 DI1 DI0), such as 00010000, "
                "nor 4 as in 1997"
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
    default=DLT645_2007,
    show_default=True,
)
@click.option("--unit", type=Whole(0, 255), help="Modbus: the meter's address.")
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
    "names",
    multiple=True,
    metavar="NAME",
    help="Default: energy.",
)
@zone_options
@as_json
@gathered("which", WhichMeter)
def read(
    *,
    connection: Connection,
    which: WhichMeter,
    identifiers: tuple[str, ...],
    names: tuple[str, ...],
    whose: Whose,
    as_json: bool,
) -> None:
    """Read one meter over a given line. Needs no daemon and no database.

    DL/T 645: --meter, and --identifier or one --quantity: energy, voltage, current, power, status,
    clock or, in 2007, freeze. The time behind a value is the meter's own clock. With --meter any
    there may be only one meter on the line.

    Modbus: --unit, --profile, and any number of --quantity as the profile names them, or energy,
    voltage, current, power, relay."""
    if which.protocol in MODBUS:
        if which.meter or identifiers:
            raise click.UsageError(MODBUS_OPTIONS)
        _read_modbus(connection, which, names, as_json)
        return
    meter = which.meter
    is_modbus = which.unit is not None or which.profile is not None
    if meter is None or is_modbus:
        raise click.UsageError("a DL/T 645 meter needs --meter, and neither --unit nor --profile")
    # Meters of 1997 answer it, as those of 2007 answer --meter any.
    if meter == BROADCAST and which.protocol == DLT645_2007:
        raise click.UsageError(
            f"{BROADCAST} is the broadcast address, no meter has it; --meter {ANY} asks the only "
            "one of a line"
        )
    meant = whose.known()
    request = replace(_request(which.protocol, meter, identifiers, names), zone=meant)
    try:
        result = asyncio.run(read_meter(connection, request))
    except NoReply as error:
        raise fail(f"{error}\n{_what_to_try(connection.speed, meter)}") from None
    if as_json:
        _print_as_json(result, meant)
    else:
        _print(result, meant)


def _read_modbus(
    connection: Connection, which: WhichMeter, names: tuple[str, ...], as_json: bool
) -> None:
    unit = which.unit
    if unit is None or which.profile is None:
        raise click.UsageError(MODBUS_OPTIONS)
    if which.protocol == "modbus-rtu" and not 1 <= unit <= HIGHEST_RTU_UNIT:
        raise click.UsageError(
            f"--unit {unit}: on a wire units go from 1 to {HIGHEST_RTU_UNIT}; "
            "0 and 255 are for modbus-tcp"
        )
    # pymodbus takes a tenth of a second to import: only when it is needed.
    from daemon.cli.read_modbus import read_and_print
    from daemon.field.read_modbus import ModbusReadRequest

    request = ModbusReadRequest(which.protocol, unit, which.profile, names or (DEFAULT_QUANTITY,))
    read_and_print(connection, request, as_json=as_json)


def _request(
    protocol: str, meter: str, identifiers: tuple[str, ...], names: tuple[str, ...]
) -> ReadRequest:
    if identifiers and names:
        raise click.UsageError("give either --identifier or --quantity")
    known = quantities(protocol)
    if len(names) > 1 or not set(names).issubset(known):
        raise click.UsageError(f"--quantity is one of {', '.join(known)}")
    digits = LANGUAGES[protocol].identifier_digits
    if any(len(identifier) != digits for identifier in identifiers):
        raise click.UsageError(f"identifiers of {protocol} have {digits} hexadecimal digits")
    (quantity,) = names or (DEFAULT_QUANTITY,)
    return ReadRequest(protocol, meter, quantity, identifiers)


def _print_as_json(result: ReadResult, zone: ZoneInfo | None) -> None:
    clock = {
        "meter_time": result.clock,
        "meter_ahead_s": result.ahead_s,
        "zone": None if zone is None else zone.key,
    }
    if not result.values:
        print_json({"meter": result.meter, **clock})
    for identifier, value in result.values:
        print_json(
            {
                "meter": result.meter,
                "identifier": identifier,
                **value._asdict(),
                **clock,
            }
        )


def _print(result: ReadResult, zone: ZoneInfo | None) -> None:
    at = f" at {result.clock:%Y-%m-%d %H:%M:%S}" if result.clock else ""
    values = [value for _, value in result.values]
    if not values:
        echo(f"meter {result.meter}{at}{_ahead(result.ahead_s, zone)}")
    elif len(values) == 1:
        echo(f"{with_unit(values[0].value, values[0].unit)}{at}")
    else:
        print_table(["name", "value", "unit"], values, title=f"meter {result.meter}{at}")


def _ahead(seconds: int | None, zone: ZoneInfo | None) -> str:
    if seconds is None or zone is None:
        return "; whether that is right is told with --zone"
    return f", {abs(seconds)} s {'ahead of' if seconds >= 0 else 'behind'} {zone.key}"


def _what_to_try(speed: Speed, meter: str) -> str:
    if speed.baud:
        what_speed = (
            f"the speed (--baud 2400 or 9600; now {speed.baud}) "
            f"and parity (8E1 for most meters; now 8{speed.parity}1)"
        )
    else:
        what_speed = (
            "that the converter runs at the meter's speed and parity (2400 8E1 for most meters)"
        )
    if meter == ANY:
        what_address = "that there is exactly one meter on the line"
    else:
        what_address = "the address (--meter any finds it when only one meter is on the line)"
    return (
        f"Check the wires (A and B swapped?), {what_speed}, and {what_address}; "
        "--trace shows the bytes."
    )
