"""What commands that speak to a meter over a given line have in common.

How to reach it, and the trace of its bytes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click
import structlog
from structlog.typing import FilteringBoundLogger

from config.endpoints import endpoint
from daemon.cli.typed import Number, Whole
from daemon.field.connection import Connection, Speed
from protocols.channels.conversation import Timing
from protocols.channels.serial import SerialChannel
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import TcpChannel

TRACE_KEYS: Final = ("line", "direction", "bytes")
F = TypeVar("F", bound=Callable[..., Any])

BAUD: Final = Whole(300, 921_600)
"""What a serial port may be asked for; the driver refuses speeds that it does not know."""


class Seconds(Number):
    """A time to wait, from `least` to a minute."""

    def __init__(self, least: float) -> None:
        super().__init__(least, 60)


@dataclass(frozen=True, slots=True)
class WhichMeters:
    """The meters that are meant on a line. `meters`: as they were typed."""

    meters: tuple[str, ...]
    protocol: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the options say that the line is; both are None while they say nothing."""

    tcp: tuple[str, int] | None
    serial: str | None

    def channel(self, speed: Speed) -> StreamChannel:
        """The channel there, not yet open. UsageError when the options name none or two.

        A converter behind TCP has its own speed."""
        if (self.tcp is None) == (self.serial is None):
            raise click.UsageError("give either --tcp HOST:PORT or --serial DEVICE")
        if self.tcp is not None:
            return TcpChannel(*self.tcp)
        return SerialChannel(
            self.serial or "",
            speed.baud or 0,
            speed.parity or "",
            data_bits=speed.data_bits,
            stop_bits=speed.stop_bits,
        )


def place_options(command: F) -> F:
    """The options --tcp and --serial; the command gets them as `place`."""

    @functools.wraps(command)
    def with_place(*, tcp: tuple[str, int] | None, serial: str | None, **given: Any) -> Any:
        return command(place=Place(tcp, serial), **given)

    with_options: F = _with_options(
        with_place,
        click.option(
            "--tcp",
            metavar="HOST:PORT",
            callback=host_and_port,
            help="A converter or gateway.",
        ),
        click.option("--serial", metavar="DEVICE", help="A serial port, such as /dev/ttyUSB0."),
    )
    return with_options


def line_options(*, baud: int, parity: str) -> Callable[[F], F]:
    """The options that name a line; the command gets them as one `connection`.

    --tcp, --serial, --baud, --parity, --data-bits, --stop-bits, --timeout, --retries and --trace,
    with these defaults."""

    def add_all(command: F) -> F:
        @functools.wraps(command)
        def with_connection(
            *,
            place: Place,
            speed: Speed,
            timeout: float,
            retries: int,
            trace: bool,
            **given: Any,
        ) -> Any:
            connection = Connection(
                place.channel(speed),
                Timing(reply_timeout_s=timeout, retries=retries),
                wire_trace() if trace else None,
                speed if place.serial else Speed(),
            )
            return command(connection=connection, **given)

        with_timing: F = _with_options(
            with_connection,
            click.option(
                "--timeout",
                type=Seconds(0.05),
                default=1.5,
                show_default=True,
                help="Seconds per try.",
            ),
            click.option(
                "--retries",
                type=Whole(0, 10),
                default=1,
                show_default=True,
            ),
            click.option(
                "--trace", is_flag=True, help="Show the bytes of the line on standard error."
            ),
        )
        return place_options(speed_options(baud=baud, parity=parity)(with_timing))

    return add_all


def speed_options(*, baud: int, parity: str) -> Callable[[F], F]:
    """The options that say how a serial port is opened, with these defaults; the command gets them
    as `speed`."""

    def add_all(command: F) -> F:
        @functools.wraps(command)
        def with_speed(
            *, baud: int, parity: str, data_bits: str, stop_bits: str, **given: Any
        ) -> Any:
            speed = Speed(baud, parity, int(data_bits), int(stop_bits))
            return command(speed=speed, **given)

        with_options: F = _with_options(
            with_speed,
            click.option("--baud", type=BAUD, default=baud, show_default=True),
            click.option(
                "--parity", type=click.Choice(["E", "O", "N"]), default=parity, show_default=True
            ),
            click.option(
                "--data-bits", type=click.Choice(["7", "8"]), default="8", show_default=True
            ),
            click.option(
                "--stop-bits", type=click.Choice(["1", "2"]), default="1", show_default=True
            ),
        )
        return with_options

    return add_all


def _with_options(command: Any, *options: Callable[[Any], Any]) -> Any:
    """The command with the options in this order on its help page."""
    for option in reversed(options):  # click puts the one that is added last first
        command = option(command)
    return command


def host_and_port(
    ctx: click.Context, param: click.Parameter, text: str | None
) -> tuple[str, int] | None:
    """HOST:PORT of an option."""
    if text is None:
        return None
    try:
        host, port = endpoint(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not port:
        raise click.BadParameter(f"'{text}': nobody answers at port 0")
    return host, port


def wire_trace() -> FilteringBoundLogger:
    """Each chunk of bytes as one line on standard error."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.LogfmtRenderer(key_order=TRACE_KEYS, drop_missing=True)],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    return logger
