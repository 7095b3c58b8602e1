"""`meterd clock`: show meters' clocks, set them, and prove it by reading them back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import click

from daemon.cli.authority import authority_of, authority_options
from daemon.cli.connection import channel_to, line_options, wire_trace
from daemon.cli.output import as_json, fail, print_json, print_table
from protocols.channels.conversation import Conversation, Timing
from protocols.channels.streams import StreamChannel
from protocols.dlt645 import exchanges, exchanges_1997
from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.exchanges_1997 import CODEC_1997
from protocols.dlt645.frame import Frame
from protocols.dlt645.writing import Authority, one_meter, write_date, write_time
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply

PROTOCOLS: Final = ("dlt645-2007", "dlt645-1997")
BROADCAST_LIMIT: Final = timedelta(minutes=5)
"""A meter takes a broadcast time for no greater difference, once a day, and not that near to
midnight."""
GOOD_ENOUGH: Final = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Shown:
    """A meter's clock and how far it is ahead of this machine's; `wrong`: why it could not be
    read."""

    meter: str
    clock: datetime | None
    ahead: timedelta | None
    wrong: str = ""


@click.command(short_help="Show or set meters' clocks.")
@line_options(baud=2400, parity="E")
@click.option(
    "--meter",
    "meters",
    multiple=True,
    required=True,
    metavar="ADDRESS",
    help="12 digits; may be repeated.",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default=PROTOCOLS[0],
    show_default=True,
)
@click.option(
    "--set",
    "is_set",
    is_flag=True,
    help="Write date and time to each; needs the meter's password.",
)
@click.option(
    "--broadcast", is_flag=True, help="Tell all meters of the line the time; needs no password."
)
@authority_options
@as_json
def clock(
    tcp: tuple[str, int] | None,
    serial: str | None,
    baud: int,
    parity: str,
    timeout: float,
    retries: int,
    trace: bool,
    meters: tuple[str, ...],
    protocol: str,
    is_set: bool,
    broadcast: bool,
    level: str,
    operator: str,
    as_json: bool,
) -> None:
    """Show the clocks of DL/T 645 meters, or set them to this machine's local time and read them
    back.

    A broadcast is obeyed for up to 5 minutes of difference, once a day, not within 5 minutes of
    midnight, and answered by nobody: the meters given with --meter are read before and after."""
    if is_set and broadcast:
        raise click.UsageError("give either --set or --broadcast")
    channel = channel_to(tcp, serial, baud, parity)
    try:
        authority = authority_of(level, operator) if is_set else None
        addresses = [one_meter(meter) for meter in dict.fromkeys(meters)]
    except FrameError as error:
        raise click.UsageError(str(error)) from None
    timing = Timing(reply_timeout_s=timeout, retries=retries)
    session = _Session(channel, protocol, timing, trace=trace)
    try:
        shown = asyncio.run(session.run(addresses, authority, broadcast=broadcast))
    except (LineDown, MeterRefused, FrameError, NoReply) as error:
        raise fail(str(error)) from None
    _print(shown, as_json)
    _judge(shown, must_agree=is_set or broadcast)


class _Session:
    """One connection, on which clocks are read and set."""

    def __init__(
        self,
        channel: StreamChannel,
        protocol: str,
        timing: Timing,
        *,
        trace: bool,
    ) -> None:
        self._channel = channel
        self._is_1997 = protocol == PROTOCOLS[1]
        self._conversation: Conversation[Frame] = Conversation(
            channel,
            CODEC_1997 if self._is_1997 else CODEC_2007,
            line=channel.name,
            timing=timing,
            wire=wire_trace() if trace else None,
        )

    async def run(
        self, meters: list[str], authority: Authority | None, *, broadcast: bool
    ) -> list[Shown]:
        """The clocks, after they were set when that was wanted. Once one cannot be set, the others
        are left alone: a password that is wrong for one meter would be counted by all."""
        if authority or broadcast:
            _refuse_near_midnight(_now())
        async with self._channel:
            if broadcast:
                await self._broadcast(meters)
            for number, meter in enumerate(meters if authority else []):
                try:
                    await self._set(meter, authority or Authority("", ""))
                except (NoReply, LineDown, MeterRefused) as error:
                    done = f"; set before it: {', '.join(meters[:number])}" if number else ""
                    raise fail(
                        f"{error}\nWhat meter {meter} shows now is not known: read it{done}"
                    ) from None
            return [await self._read(meter) for meter in meters]

    async def _read(self, meter: str) -> Shown:
        read_clock = exchanges_1997.read_clock if self._is_1997 else exchanges.read_clock
        try:
            clock = await self._conversation.run(read_clock(meter))
        except (NoReply, MeterRefused, FrameError) as error:
            return Shown(meter, None, None, str(error))
        return Shown(meter, clock, clock - _now())

    async def _set(self, meter: str, authority: Authority) -> None:
        run = self._conversation.run
        _refuse_near_midnight(_now())
        if self._is_1997:
            secret = {"level": authority.level, "password": authority.password}
            await run(exchanges_1997.set_clock(meter, _now(), **secret), retries=0)
            return
        await run(write_date(meter, _now(), authority), retries=0)
        await run(write_time(meter, _now(), authority), retries=0)

    async def _broadcast(self, meters: list[str]) -> None:
        for shown in [await self._read(meter) for meter in meters]:
            if shown.ahead is not None and abs(shown.ahead) > BROADCAST_LIMIT:
                raise fail(
                    f"meter {shown.meter} is {_words(shown.ahead)}: it takes a broadcast for 5 minutes at the most; "
                    "set it with --set"
                )
        _refuse_near_midnight(_now())
        set_all = exchanges_1997.broadcast_time if self._is_1997 else exchanges.set_clock
        await self._conversation.run(set_all(_now()))


def _now() -> datetime:
    """This machine's wall clock; meters have no zone."""
    return datetime.now().astimezone().replace(tzinfo=None)


def _refuse_near_midnight(now: datetime) -> None:
    """Asked before each clock: to reach many meters takes minutes."""
    if any((now + margin).date() != now.date() for margin in (-BROADCAST_LIMIT, BROADCAST_LIMIT)):
        raise fail(
            "no clock is set within 5 minutes of midnight: a day's freeze could be lost or taken twice"
        )


def _words(ahead: timedelta) -> str:
    seconds = round(ahead.total_seconds())
    return f"{abs(seconds)} s {'ahead' if seconds >= 0 else 'behind'}"


def _print(shown: list[Shown], as_json: bool) -> None:
    if as_json:
        for it in shown:
            ahead_s = None if it.ahead is None else round(it.ahead.total_seconds())
            print_json(
                {
                    "meter": it.meter,
                    "meter_time": it.clock,
                    "meter_ahead_s": ahead_s,
                    "error": it.wrong or None,
                }
            )
        return
    rows = [
        (it.meter, it.clock, it.wrong if it.ahead is None else _words(it.ahead)) for it in shown
    ]
    print_table(["meter", "clock", "difference"], rows)


def _judge(shown: list[Shown], *, must_agree: bool) -> None:
    """Ends with a failure when a clock could not be read, or is not what it was set to."""
    unread = [it.meter for it in shown if it.ahead is None]
    if unread:
        raise fail(f"no clock of {', '.join(unread)}")
    off = [it.meter for it in shown if it.ahead is not None and abs(it.ahead) > GOOD_ENOUGH]
    if must_agree and off:
        raise fail(f"still wrong: {', '.join(off)} (a broadcast is obeyed once a day)")
