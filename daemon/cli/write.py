"""`meterd write`: set one parameter of a meter, and read it back."""

from __future__ import annotations

import asyncio
import re
from typing import Final

import click

from daemon.acquisition.conversation import Conversation, Timing
from daemon.cli.authority import authority_of, authority_options
from daemon.cli.connection import channel_to, line_options, wire_trace
from daemon.cli.output import as_json, fail, print_json
from protocols.channels.streams import StreamChannel
from protocols.dlt645 import exchanges_1997
from protocols.dlt645.describe_2007 import MEASURED
from protocols.dlt645.exchanges import CODEC_2007, read
from protocols.dlt645.exchanges_1997 import CODEC_1997
from protocols.dlt645.frame import Frame
from protocols.dlt645.values import Value, try_values
from protocols.dlt645.writing import Authority, encode_value, one_meter
from protocols.dlt645.writing import write as write_2007
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply
from protocols.exchange import Exchange

HEX: Final = "hex:"
PROGRAMMING_1997: Final = "C"
"""DI1 of what may be written begins with it; the rest is measured."""


@click.command(short_help="Set a parameter of a meter.")
@line_options(baud=2400, parity="E")
@click.option("--meter", required=True, metavar="ADDRESS", help="The 12 digits on the meter.")
@click.option("--identifier", required=True, metavar="DI", help="8 digits, such as 04001001; 4 for a 1997 meter.")
@click.option("--value", required=True, help="As `meterd read` shows it, several parted by commas; or hex:BYTES.")
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

    The password comes from METERD_METER_PASSWORD or is asked for. A write is sent once: a meter counts wrong passwords.
    """
    channel = channel_to(tcp, serial, baud, parity)
    identifier = identifier.upper()
    try:
        one_meter(meter)
        data = _value(identifier, value)
        authority = authority_of(level, operator)
    except FrameError as error:
        raise click.UsageError(str(error)) from None
    if not yes:
        click.confirm(f"Write {value} to {identifier} of meter {meter}?", abort=True, err=True)
    timing = Timing(reply_timeout_s=timeout, retries=retries)
    try:
        before, after = asyncio.run(_write(channel, timing, meter, identifier, data, authority, trace=trace))
    except NoReply as error:
        raise fail(f"{error}\nWhether it was written is not known: read {identifier}.") from None
    except (LineDown, MeterRefused, FrameError) as error:
        raise fail(str(error)) from None
    told, _ = try_values(identifier, after)
    if as_json:
        was = [item.value for item in try_values(identifier, before)[0]] if before is not None else None
        print_json({"meter": meter, "identifier": identifier, "was": was, "values": [it._asdict() for it in told]})
    else:
        click.echo("\n".join(f"{item.name}  {_in_words(item)}" for item in told))
    if after != data:
        raise fail(f"meter {meter} accepted the write, but {identifier} reads {after.hex(' ').upper()}")


def _value(identifier: str, text: str) -> bytes:
    if not re.fullmatch("[0-9A-F]{8}|[0-9A-F]{4}", identifier):
        raise FrameError(f"identifier {identifier!r} is not 8 hexadecimal digits, nor 4 as in the 1997 version")
    if len(identifier) == 8 and int(identifier[:2], 16) in MEASURED:
        raise FrameError(f"{identifier} is measured by the meter and cannot be written")
    if len(identifier) == 4 and not identifier.startswith(PROGRAMMING_1997):
        raise FrameError(f"{identifier} is measured by the meter and cannot be written")
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
    is_1997 = len(identifier) == 4
    async with channel:
        conversation: Conversation[Frame] = Conversation(
            channel,
            CODEC_1997 if is_1997 else CODEC_2007,
            line=channel.name,
            timing=timing,
            wire=wire_trace() if trace else None,
        )
        try:
            before = await conversation.run(_read(meter, identifier))
        except MeterRefused:
            before = None
        if is_1997:
            exchange = exchanges_1997.write(meter, identifier, data, level=authority.level, password=authority.password)
        else:
            exchange = write_2007(meter, identifier, data, authority)
        await conversation.run(exchange, retries=0)
        return before, await conversation.run(_read(meter, identifier))


def _read(meter: str, identifier: str) -> Exchange[Frame, bytes]:
    return exchanges_1997.read(meter, identifier) if len(identifier) == 4 else read(meter, identifier)


def _in_words(value: Value) -> str:
    return "no data" if value.value is None else f"{value.value} {value.unit}".rstrip()
