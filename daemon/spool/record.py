"""A reading as it waits on disk, in full, and the frame that tells whether it is whole.

A frame is MAGIC, the length of its payload and a CRC-32 of both, little endian; the payload is a
byte with the format's version and a msgpack array. Fields are only ever added at the array's end,
each with a default, so that an older record stays readable; anything else is a new version."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime, time, timedelta
from decimal import Decimal
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec

from daemon.quality.arrival import Arrival, PolledFreeze, Teller
from daemon.quality.meter import Meter
from protocols.errors import MeterdError
from protocols.peer import Peer, Proof
from protocols.reading import DailyFreeze, Quantity

VERSION: Final = 1
MAGIC: Final = b"\xb5MTR"
LONGEST_PAYLOAD: Final = 4096
"""Anything longer is a damaged length: a reading takes about a hundred bytes."""
POLLED_DECIMALS: Final = 2
MIDNIGHT: Final = time()
_HEAD: Final = Struct("<4sII")
_LENGTH: Final = Struct("<I")
_MICROSECOND: Final = timedelta(microseconds=1)
_QUANTITIES: Final = {quantity.label: quantity for quantity in Quantity}


class UnknownRecord(MeterdError):
    """A whole record that this program cannot read: a newer one wrote it, or it is no record."""


class WaitingTeller(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who told it; see Teller and Peer."""

    line: str
    address: str
    proof: int
    terminal: str = ""
    certificate: str = ""
    session_at: datetime | None = None

    @property
    def teller(self) -> Teller:
        """The same as those know it who store."""
        peer = Peer(
            self.address, Proof(self.proof), self.terminal, self.certificate, self.session_at
        )
        return Teller(self.line, peer)


class WaitingReading(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A freeze and the address of the meter that told it.

    `registers` in units of 10**-`decimals` kWh; `frozen_at` is the meter's wall clock, `arrived_at`
    aware UTC; the durations are in microseconds."""

    address: str
    quantity: str
    frozen_at: datetime
    decimals: int
    registers: tuple[int | None, ...]
    arrived_at: datetime
    clock_skew_us: int | None = None
    host_offset_us: int | None = None
    serial: str | None = None
    told_by: WaitingTeller | None = None

    @property
    def freeze(self) -> DailyFreeze:
        """The same as the rules know it. UnknownRecord for a quantity that is not in our list."""
        quantity = _QUANTITIES.get(self.quantity)
        if quantity is None:
            raise _unknown(self)
        return DailyFreeze(
            address=self.address,
            quantity=quantity,
            frozen_at=self.frozen_at,
            registers=tuple(self._kwh(register) for register in self.registers),
            arrived_at=self.arrived_at,
            clock_skew=_duration(self.clock_skew_us),
            host_offset=_duration(self.host_offset_us),
            serial=self.serial,
        )

    def _kwh(self, register: int | None) -> Decimal | None:
        return None if register is None else Decimal(register).scaleb(-self.decimals)


def _unknown(reading: WaitingReading) -> UnknownRecord:
    return UnknownRecord(f"{reading.quantity} is no quantity that this program knows")


def as_content(reading: WaitingReading) -> dict[str, Any]:
    """The reading as JSON that a person can read, by the names of its fields."""
    values = msgspec.to_builtins(reading)
    return dict(zip(reading.__struct_fields__, values, strict=True))


def of_content(content: Mapping[str, Any]) -> WaitingReading:
    """The reading again. UnknownRecord where there is none."""
    try:
        values = [content[name] for name in WaitingReading.__struct_fields__ if name in content]
        return msgspec.convert(values, WaitingReading)
    except msgspec.ValidationError as error:
        raise UnknownRecord(f"no reading: {error}") from None


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(WaitingReading)


def waiting(arrival: Arrival | PolledFreeze) -> WaitingReading:
    """What is kept of an arrival."""
    if isinstance(arrival, PolledFreeze):
        decimals = POLLED_DECIMALS
        registers = arrival.registers
    else:
        decimals = _decimals(arrival.freeze.registers)
        registers = tuple(_in_units(value, decimals) for value in arrival.freeze.registers)
    freeze = arrival.freeze
    return WaitingReading(
        address=freeze.address,
        quantity=freeze.quantity.label,
        frozen_at=freeze.frozen_at,
        decimals=decimals,
        registers=registers,
        arrived_at=freeze.arrived_at,
        clock_skew_us=_microseconds(freeze.clock_skew),
        host_offset_us=_microseconds(freeze.host_offset),
        serial=freeze.serial,
        told_by=_waiting_teller(arrival.told_by),
    )


def _waiting_teller(teller: Teller | None) -> WaitingTeller | None:
    if teller is None:
        return None
    peer = teller.peer
    return WaitingTeller(
        teller.line,
        peer.address,
        int(peer.proof),
        peer.terminal,
        peer.certificate,
        peer.session_at,
    )


def arrival_of(reading: WaitingReading, meter: Meter) -> Arrival | PolledFreeze:
    """The same again, of this meter: integers without a detour, wherever a line could poll it."""
    teller = None if reading.told_by is None else reading.told_by.teller
    if not _could_be_polled(reading):
        return Arrival(meter, reading.freeze, teller)
    day = reading.frozen_at.date()
    skew = _duration(reading.clock_skew_us)
    return PolledFreeze(meter, day, reading.registers, reading.arrived_at, skew, teller)


def _could_be_polled(reading: WaitingReading) -> bool:
    is_of_a_meter_with_memory = reading.host_offset_us is None and reading.serial is None
    is_in_hundredths = reading.decimals == POLLED_DECIMALS
    is_energy = reading.quantity == Quantity.FORWARD_ACTIVE_ENERGY.label
    is_polled_value = is_energy and is_in_hundredths and is_of_a_meter_with_memory
    return is_polled_value and reading.frozen_at.time() == MIDNIGHT


def framed(reading: WaitingReading) -> bytes:
    """The record as it stands in a file."""
    payload = bytes((VERSION,)) + _encoder.encode(reading)
    return _HEAD.pack(MAGIC, len(payload), _checksum(payload)) + payload


def decode(payload: bytes) -> WaitingReading:
    """The reading in the payload of a whole frame. UnknownRecord where there is none."""
    if payload[0] != VERSION:
        raise UnknownRecord(f"a record of version {payload[0]}; this program reads {VERSION}")
    try:
        reading = _decoder.decode(payload[1:])
    except msgspec.DecodeError as error:
        raise UnknownRecord(f"no reading: {error}") from None
    if reading.quantity not in _QUANTITIES:
        raise _unknown(reading)
    return reading


class Span(NamedTuple):
    """A piece of a file: `payload` of a whole frame, None for bytes that are none."""

    start: int
    end: int
    payload: bytes | None


def spans(data: bytes) -> Iterator[Span]:
    """The pieces of a file in their order.

    What is damaged ends where the next whole frame begins. A last frame of which a part is missing,
    as a kill leaves it, is not given: it ends behind the last span."""
    at = 0
    while at < len(data):
        end = _whole_until(data, at)
        if end is not None:
            yield Span(at, end, data[at + _HEAD.size : end])
            at = end
            continue
        found = _next_frame(data, at)
        if found is None:
            if not _is_torn(data, at):
                yield Span(at, len(data), None)
            return
        yield Span(at, found, None)
        at = found


def _whole_until(data: bytes, at: int) -> int | None:
    """Where the whole frame that begins at `at` ends; None if there is none."""
    if at + _HEAD.size > len(data):
        return None
    magic, length, checksum = _HEAD.unpack_from(data, at)
    end = int(at + _HEAD.size + length)
    if magic != MAGIC or not 1 <= length <= LONGEST_PAYLOAD or end > len(data):
        return None
    return end if _checksum(data[at + _HEAD.size : end]) == checksum else None


def _next_frame(data: bytes, at: int) -> int | None:
    found = data.find(MAGIC, at + 1)
    while found >= 0 and _whole_until(data, found) is None:
        found = data.find(MAGIC, found + 1)
    return None if found < 0 else found


def _is_torn(data: bytes, at: int) -> bool:
    """True if what begins here is the beginning of a frame, or of one whose blocks stayed empty."""
    head = data[at : at + _HEAD.size]
    if not any(data[at:]):
        return True  # a file system may have made room for what a power cut kept from coming
    if len(head) < _HEAD.size:
        return MAGIC.startswith(head[: len(MAGIC)])
    magic, length, _ = _HEAD.unpack(head)
    is_head = bool(magic == MAGIC and length <= LONGEST_PAYLOAD)
    return is_head and at + _HEAD.size + int(length) > len(data)


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_LENGTH.pack(len(payload))))


def _decimals(registers: tuple[Decimal | None, ...]) -> int:
    exponents = [value.as_tuple().exponent for value in registers if value is not None]
    return max([0, *(-exponent for exponent in exponents if isinstance(exponent, int))])


def _in_units(value: Decimal | None, decimals: int) -> int | None:
    return None if value is None else int(value.scaleb(decimals))


def _microseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else duration // _MICROSECOND


def _duration(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)
