"""The Modbus side of `meterd read`: quantities by register profile."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from daemon.cli.output import echo, fail, print_json, print_table, with_unit
from daemon.field.connection import Connection
from daemon.field.read_modbus import (
    ModbusReadRequest,
    ModbusValue,
    UnknownQuantity,
    read_modbus,
)
from protocols.errors import NoReply

WHAT_TO_TRY: Final = (
    "Check the unit, the speed and parity (9600 8N1 or 8E1 for most Modbus meters), "
    "and whether the other side speaks Modbus TCP or RTU (--protocol); --trace shows the bytes."
)


def read_and_print(connection: Connection, request: ModbusReadRequest, *, as_json: bool) -> None:
    """What `meterd read` does for a Modbus meter."""
    try:
        values = asyncio.run(read_modbus(connection, request))
    except UnknownQuantity as error:
        raise click.UsageError(f"--quantity {error}") from None
    except NoReply as error:
        raise fail(f"{error}\n{WHAT_TO_TRY}") from None
    if as_json:
        _print_as_json(request.unit, values)
    else:
        _print(request, values)


def _print_as_json(unit: int, values: list[ModbusValue]) -> None:
    for name, value, shown_unit in values:
        print_json(
            {
                "meter": str(unit),
                "name": name,
                "value": value,
                "unit": shown_unit,
            }
        )


def _print(request: ModbusReadRequest, values: list[ModbusValue]) -> None:
    """One value as a line, several as a table."""
    if len(values) == 1:
        ((_, value, unit),) = values
        echo(with_unit(value, unit))
        return
    print_table(
        ["name", "value", "unit"],
        values,
        title=f"unit {request.unit}, profile {request.profile}",
    )
