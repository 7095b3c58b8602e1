"""Reads one DL/T 645 meter: values by identifier or quantity, and its clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from daemon.field.clock import wall_clock
from daemon.field.connection import Connection
from daemon.field.language import DLT645_2007, LANGUAGES, Language
from protocols.channels.conversation import Conversation
from protocols.dlt645 import exchanges, functions
from protocols.dlt645.frame import Frame
from protocols.dlt645.values import Value, decode_values
from protocols.errors import FrameError, MeterRefused, NoFreezeYet, NoReply

ANY: Final = "any"
"""In place of an address: the only meter of the line is asked for its own."""
CLOCK: Final = "clock"
FREEZE: Final = "freeze"
FREEZE_STAMP: Final = "05060001"
FREEZE_REGISTERS: Final = "05060101"

Found = list[tuple[str, Value]]
"""Each value with the identifier it was read by."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What one meter is asked.

    `meter` is 12 digits or `any`; with identifiers the quantity does not count. `zone`: of the
    meter's clock, None: not known."""

    protocol: str
    meter: str
    quantity: str
    identifiers: tuple[str, ...] = ()
    zone: ZoneInfo | None = None

    @property
    def is_for_clock(self) -> bool:
        """True when the clock is all that is asked for."""
        return self.quantity == CLOCK and not self.identifiers


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What a meter answered.

    `clock`: its wall clock, and `ahead_s` how far that is ahead of the time of its zone; None
    where it gives none, or its zone is not known."""

    meter: str
    values: Found
    clock: datetime | None = None
    ahead_s: int | None = None


def quantities(protocol: str) -> tuple[str, ...]:
    """The quantities that can be asked for. Daily freezes (05 06) came with the 2007 version."""
    freeze = (FREEZE,) if protocol == DLT645_2007 else ()
    return *LANGUAGES[protocol].quantities, CLOCK, *freeze


async def read(connection: Connection, request: ReadRequest) -> ReadResult:
    """The values, then the clock.

    A meter whose clock cannot be read is read all the same, unless the clock is what was asked
    for. LineDown, NoReply, MeterRefused, FrameError; NoFreezeYet."""
    language = LANGUAGES[request.protocol]
    async with connection.conversation(language.codec) as conversation:
        meter = request.meter
        if meter == ANY:
            meter = await conversation.run(language.read_address())
        values = await _values(conversation, language, meter, request)
        try:
            # Not repeated: a meter without a clock would cost its time-outs at each read.
            clock = await conversation.run(language.read_clock(meter), retries=0)
        except (MeterRefused, NoReply, FrameError):
            if request.is_for_clock:
                raise
            return ReadResult(meter, values)
        ahead = None if request.zone is None else clock - wall_clock(request.zone)
        ahead_s = None if ahead is None else round(ahead.total_seconds())
        return ReadResult(meter, values, clock, ahead_s)


async def _values(
    conversation: Conversation[Frame], language: Language, meter: str, request: ReadRequest
) -> Found:
    if request.identifiers:
        found: Found = []
        for identifier in request.identifiers:
            found += await _one(conversation, language, meter, identifier)
        return found
    if request.quantity == CLOCK:
        return []
    if request.quantity == FREEZE:
        return await _newest_freeze(conversation, meter)
    return await _first_known(conversation, language, meter, language.quantities[request.quantity])


async def _one(
    conversation: Conversation[Frame], language: Language, meter: str, identifier: str
) -> Found:
    data = await conversation.run(language.read(meter, identifier))
    return [(identifier, value) for value in decode_values(identifier, data)]


async def _first_known(
    conversation: Conversation[Frame],
    language: Language,
    meter: str,
    identifiers: tuple[str, ...],
) -> Found:
    """The values behind the first identifier that the meter knows: it refuses, or is silent."""
    *first_choices, last_choice = identifiers
    for identifier in first_choices:
        try:
            return await _one(conversation, language, meter, identifier)
        except MeterRefused as refusal:
            # Any other refusal (password, say) would meet the next identifier too.
            if not refusal.word & functions.NO_SUCH_DATA:
                raise
        except NoReply:
            # Some meters are silent at what they do not know.
            pass
    return await _one(conversation, language, meter, last_choice)


async def _newest_freeze(conversation: Conversation[Frame], meter: str) -> Found:
    # Confirmed: the stamp is read again behind the registers, in case the meter froze between.
    freeze = await conversation.run(exchanges.read_daily_freeze(meter, 1, confirm=True))
    if freeze is None:
        raise NoFreezeYet(f"meter {meter} has no daily freeze yet")
    found = [
        (FREEZE_STAMP, Value("frozen_at", freeze.frozen_at.isoformat(" ", "minutes"), "")),
    ]
    for number, energy in enumerate(freeze.registers):
        name = f"tariff_{number}" if number else "total"
        kwh = None if energy is None else str(energy)
        found.append((FREEZE_REGISTERS, Value(name, kwh, "kWh")))
    return found
