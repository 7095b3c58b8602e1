"""`meterd write`: set one parameter of a meter, and read it back."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Final

import click

from daemon.cli.authority import authority_of, authority_options
from daemon.cli.connection import channel_to, line_options, wire_trace
from daemon.cli.output import as_json, fail, print_json
from protocols.channels.conversation import Conversation, Timing
from protocols.channels.streams import StreamChannel
from protocols.dlt645 import exchanges_1997
from protocols.dlt645.bcd import decode_time
from protocols.dlt645.exchanges import CODEC_2007, read
from protocols.dlt645.exchanges_1997 import CODEC_1997
from protocols.dlt645.frame import Frame
from protocols.dlt645.identifiers import MEASURED, Kind, meaning
from protocols.dlt645.values import Value, try_values
from protocols.dlt645.writing import Authority, encode_value, one_meter
from protocols.dlt645.writing import write as write_2007
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply
from protocols.exchange import Exchange

HEX: Final = "hex:"
PROGRAMMING_1997: Final = "C"
"""DI1 of what may be written begins with it; the rest is measured."""
ADDRESS: Final = "04000401"
"""Who was given another address answers by it."""
CLOCKS: Final = frozenset({"04000102", "0400010C", "C011"})
"""What goes on by itself once it is written: ss mm hh, alone or with WW DD MM YY."""
SOME_DAY: Final = bytes.fromhex("00010126")
GOES_ON: Final = timedelta(seconds=5)
"""How far a clock may have gone until it is read back."""


@click.command(short_help="Set a parameter of a meter.")
@line_options(baud=2400, parity="E")
@click.option(
    "--meter",
    required=True,
    metavar="ADDRESS",
    help="The 12 digits on the meter.",
)
@click.option(
    "--identifier",
    required=True,
    metavar="DI",
    help="8 digits, such as 04001001; 4 for a 1997 meter.",
)
@click.option(
    "--value",
    required=True,
    help="As `meterd read` shows it, several parted by commas; or hex:BYTES.",
)
@authority_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def write(
    tcp: tuple[str, int] | None,
    serial: str | None,
    baud: int,
    parity: str,
    timeout: float,
    retries: int,
    trace: bool,
    meter: str,
    identifier: str,
    value: str,
    level: str,
    operator: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Write one parameter of a DL/T 645 meter and read it back.

    The password comes from METERD_METER_PASSWORD or is asked for. A write is sent once: a meter
    counts wrong passwords."""
    channel = channel_to(tcp, serial, baud, parity)
    identifier = identifier.upper()
    try:
        one_meter(meter)
        data = _value(identifier, value)
        authority = authority_of(level, operator)
        next(
            _write_exchange(meter, identifier, data, authority)
        )  # what cannot be sent is told before the line opens
    except FrameError as error:
        raise click.UsageError(str(error)) from None
    if not yes:
        click.confirm(f"Write {value} to {identifier} of meter {meter}?", abort=True, err=True)
    timing = Timing(reply_timeout_s=timeout, retries=retries)
    try:
        before, after = asyncio.run(
            _write(
                channel,
                timing,
                meter,
                identifier,
                data,
                authority,
                trace=trace,
            )
        )
    except (LineDown, NoReply, MeterRefused, FrameError) as error:
        raise fail(str(error)) from None
    told, _ = try_values(identifier, after)
    if as_json:
        was = (
            [item.value for item in try_values(identifier, before)[0]]
            if before is not None
            else None
        )
        print_json(
            {
                "meter": meter,
                "identifier": identifier,
                "was": was,
                "values": [it._asdict() for it in told],
            }
        )
    else:
        click.echo("\n".join(f"{item.name}  {_in_words(item)}" for item in told))
    if not _is_kept(identifier, data, after):
        raise fail(
            f"meter {meter} accepted the write, but {identifier} reads {after.hex(' ').upper()}"
        )


def _value(identifier: str, text: str) -> bytes:
    if not re.fullmatch("[0-9A-F]{8}|[0-9A-F]{4}", identifier):
        raise FrameError(
            f"identifier {identifier!r} is not 8 hexadecimal digits, nor 4 as in the 1997 version"
        )
    if len(identifier) == 8 and int(identifier[:2], 16) in MEASURED:
        raise FrameError(f"{identifier} is measured by the meter and cannot be written")
    if len(identifier) == 4 and not identifier.startswith(PROGRAMMING_1997):
        raise FrameError(f"{identifier} is measured by the meter and cannot be written")
    known = meaning(identifier)
    if known and any(field.kind is Kind.SECRET for field in known.record.fields):
        raise FrameError(f"{identifier} is a password: it is not set by a write")
    if not text.startswith(HEX):
        return encode_value(identifier, text)
    try:
        return bytes.fromhex(text.removeprefix(HEX))
    except ValueError:
        raise FrameError(f"{text!r} is not hex: and bytes in wire order") from None


async def _write(
    channel: StreamChannel,
    timing: Timing,
    meter: str,
    identifier: str,
    data: bytes,
    authority: Authority,
    *,
    trace: bool,
) -> tuple[bytes | None, bytes]:
    """The bytes behind the identifier before (None when it cannot be read) and after."""
    async with channel:
        conversation: Conversation[Frame] = Conversation(
            channel,
            CODEC_1997 if len(identifier) == 4 else CODEC_2007,
            line=channel.name,
            timing=timing,
            wire=wire_trace() if trace else None,
        )
        try:
            before = await conversation.run(_read(meter, identifier))
        except MeterRefused:
            before = None
        not_known = f"Whether it was written is not known: read {identifier}."
        try:
            await conversation.run(_write_exchange(meter, identifier, data, authority), retries=0)
        except (NoReply, LineDown) as error:
            raise fail(f"{error}\n{not_known}") from None
        except asyncio.CancelledError:
            click.echo(not_known, err=True)
            raise
        try:
            return before, await conversation.run(
                _read(_address_after(meter, identifier, data), identifier)
            )
        except (NoReply, LineDown, MeterRefused, FrameError) as error:
            raise fail(
                f"meter {meter} accepted the write, but {identifier} cannot be read back: {error}"
            ) from None


def _write_exchange(
    meter: str, identifier: str, data: bytes, authority: Authority
) -> Exchange[Frame, None]:
    if len(identifier) == 4:
        return exchanges_1997.write(
            meter,
            identifier,
            data,
            level=authority.level,
            password=authority.password,
        )
    return write_2007(meter, identifier, data, authority)


def _address_after(meter: str, identifier: str, data: bytes) -> str:
    return data[::-1].hex() if identifier == ADDRESS else meter


def _is_kept(identifier: str, written: bytes, after: bytes) -> bool:
    """A clock goes on: what it shows may be a little later than what was written."""
    if after == written or identifier not in CLOCKS or len(after) != len(written):
        return after == written
    try:
        was, now = (
            decode_time((data + SOME_DAY)[:7], "ss mm hh WW DD MM YY") for data in (written, after)
        )
    except FrameError:
        return False
    if was is None or now is None:
        return False
    went_on = now - was
    return (
        timedelta(0)
        <= (timedelta(seconds=went_on.seconds) if len(after) == 3 else went_on)
        <= GOES_ON
    )


def _read(meter: str, identifier: str) -> Exchange[Frame, bytes]:
    return (
        exchanges_1997.read(meter, identifier) if len(identifier) == 4 else read(meter, identifier)
    )


def _in_words(value: Value) -> str:
    return "no data" if value.value is None else f"{value.value} {value.unit}".rstrip()
