"""What commands that speak to a meter over a given line have in common: how to reach it, and the
trace of its bytes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
import structlog
from structlog.typing import FilteringBoundLogger

from protocols.channels.serial import SerialChannel
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import TcpChannel

TRACE_KEYS: Final = ("line", "direction", "bytes")
F = TypeVar("F", bound=Callable[..., Any])

BAUD: Final = click.IntRange(300, 921_600)
"""What serial ports can be told; more than the driver knows is refused by it."""


class Seconds(click.FloatRange):
    """A time to wait: from `least` to a minute, and a number: nan is not below, above or between
    anything."""

    def __init__(self, least: float) -> None:
        super().__init__(least, 60)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds; a wrong use when they are none."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


def line_options(*, baud: int, parity: str) -> Callable[[F], F]:
    """The options --tcp, --serial, --baud, --parity, --timeout, --retries and --trace, with these
    defaults."""
    options = (
        click.option(
            "--tcp",
            metavar="HOST:PORT",
            callback=host_and_port,
            help="A converter or gateway.",
        ),
        click.option("--serial", metavar="DEVICE", help="A serial port, such as /dev/ttyUSB0."),
        click.option(
            "--baud",
            type=BAUD,
            default=baud,
            show_default=True,
        ),
        click.option(
            "--parity",
            type=click.Choice(["E", "O", "N"]),
            default=parity,
            show_default=True,
        ),
        click.option(
            "--timeout",
            type=Seconds(0.05),
            default=1.5,
            show_default=True,
            help="Seconds per try.",
        ),
        click.option(
            "--retries",
            type=click.IntRange(0, 10),
            default=1,
            show_default=True,
        ),
        click.option("--trace", is_flag=True, help="Show the bytes of the line on standard error."),
    )

    def add_all(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add_all


def channel_to(
    tcp: tuple[str, int] | None, serial: str | None, baud: int, parity: str
) -> StreamChannel:
    """The channel that the options name, not yet open. UsageError when they name none or two."""
    if (tcp is None) == (serial is None):
        raise click.UsageError("give either --tcp HOST:PORT or --serial DEVICE")
    return SerialChannel(serial, baud, parity) if serial else TcpChannel(*(tcp or ("", 0)))


def host_and_port(
    ctx: click.Context, param: click.Parameter, text: str | None
) -> tuple[str, int] | None:
    """HOST:PORT of an option."""
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{text!r} is not HOST:PORT, such as 192.168.1.10:8899")
    return host.strip("[]"), int(port)


def wire_trace() -> FilteringBoundLogger:
    """Each chunk of bytes as one line on standard error."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.LogfmtRenderer(key_order=TRACE_KEYS, drop_missing=True)],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    return logger
