"""Modbus link layer, RTU and TCP: frames to bytes, and a stream of bytes to frames.

Sizes, checksums, headers and PDUs are pymodbus's (its framers do no I/O). What is added here:
finding the next frame behind noise, byte by byte, which pymodbus leaves out because it throws its
whole buffer away."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU

from protocols.errors import FrameError
from protocols.exchange import Skipped
from protocols.frame_search import MOST_NOISE_KEPT, FrameSearch
from protocols.modbus.functions import (
    BIT_READS,
    MOST_REGISTERS,
    OUR_FUNCTIONS,
    REGISTER_READS,
)

ALL_FUNCTIONS: Final = frozenset(DecodePDU.pdu_table)
"""All that pymodbus knows."""
EXCEPTION: Final = 0x80
"""Added to the function by a meter that refuses."""

BROADCAST: Final = 0
LONGEST_RTU: Final = 256
SHORTEST_TCP: Final = 3
LONGEST_TCP: Final = 254
"""Unit and PDU together."""
CRC_BYTES: Final = 2
MBAP_BYTES: Final = 6
"""Transaction, protocol and length: what comes before the bytes that the length counts."""
LONGEST_FRAME: Final = MBAP_BYTES + LONGEST_TCP

_RESPONSES: Final = DecodePDU(is_server=False)
_REQUESTS: Final = DecodePDU(is_server=True)
_RTU: Final = FramerRTU(_RESPONSES)
_SOCKET: Final = FramerSocket(_RESPONSES)
_transactions: Final = count(1)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, without what RTU or TCP put around it.

    `pdu`: function code and data. `is_request`: it reads as what a master sends and no meter
    answers. `transaction` is what an answer over TCP repeats; RTU does not carry it.
    """

    unit: int
    pdu: bytes
    is_request: bool = False
    transaction: int = field(default=0, compare=False)

    @property
    def function(self) -> int:
        """The function code without the mark of an exception."""
        return self.pdu[0] & ~EXCEPTION

    @property
    def exception(self) -> int:
        """The exception code of a refusal, 0 for anything else."""
        is_refusal = self.pdu[0] & EXCEPTION and len(self.pdu) > 1
        return self.pdu[1] if is_refusal else 0


def request(unit: int, message: ModbusPDU) -> Frame:
    """A request with the next transaction number of this process.

    FrameError on what Modbus cannot carry.
    """
    if not 0 <= unit <= 255:
        raise FrameError(f"unit {unit} is not between 0 and 255")
    try:
        pdu = bytes((message.function_code,)) + message.encode()
    except (ValueError, struct.error) as error:
        raise FrameError(f"no such request: {error}") from None
    transaction = next(_transactions) & 0xFFFF
    return Frame(unit, pdu, is_request=True, transaction=transaction)


def encode_rtu(frame: Frame) -> bytes:
    """Unit, PDU and checksum (CRC-16, low byte first)."""
    return _RTU.encode(frame.pdu, frame.unit, 0)


def encode_tcp(frame: Frame) -> bytes:
    """The MBAP header, unit and PDU."""
    return _SOCKET.encode(frame.pdu, frame.unit, frame.transaction)


def parse(pdu: bytes, *, is_request: bool) -> ModbusPDU:
    """The PDU in pymodbus's form. FrameError when its data are not what its function demands."""
    table = _REQUESTS if is_request else _RESPONSES
    try:
        kind = table.lookupPduClass(b"\0" + pdu) if pdu else None
    except IndexError:
        # pymodbus looks for a sub-function behind a function code that is all there is.
        kind = None
    if kind is None:
        code = pdu[:1].hex().upper() or "nothing"
        raise FrameError(f"no Modbus function that is known here: {code}")
    try:
        message = kind(pdu[0] & ~EXCEPTION) if pdu[0] & EXCEPTION else kind()
        message.decode(pdu[1:])
    except (ModbusException, ValueError, IndexError, struct.error) as error:
        raise FrameError(
            f"function {pdu[0]:02X} with data that do not fit: {pdu[1:].hex().upper()}: {error}"
        ) from None
    return message


class Look(NamedTuple):
    """What stands at a place: a frame of `length` bytes, none for a `reason`, or NEED_MORE."""

    length: int
    reason: str
    frame: Frame | None = None


NEED_MORE: Final = Look(0, "")


class Rules(NamedTuple):
    """How bytes may be read: as what, tried in this order, and with which functions."""

    tables: tuple[DecodePDU, ...]
    functions: frozenset[int]


AS_MASTER: Final = Rules((_RESPONSES, _REQUESTS), OUR_FUNCTIONS)
"""Answers, and our own requests where the adapter echoes them."""
AS_METER: Final = Rules((_REQUESTS,), ALL_FUNCTIONS)
"""A meter hears what it does not know, too, and refuses it."""
AS_MONITOR: Final = Rules((_RESPONSES, _REQUESTS), ALL_FUNCTIONS)


class FrameStarts(NamedTuple):
    """A byte for each place of a long recording.

    `possible`: 0 where no frame begins. `plausible`: 0 where there is nothing but noise.
    """

    plausible: bytes
    possible: bytes


def look_rtu(data: bytes, at_end: bool, rules: Rules) -> Look:
    """What begins with the first byte: only a frame whose checksum is right.

    `at_end`: no byte follows.
    """
    reason = "noise"
    for table in rules.tables:
        size = _rtu_size(table, data, rules.functions)
        if size is None:
            continue
        if not 0 < size <= len(data):
            if not at_end:
                return NEED_MORE
            if len(data) > 1:
                reason = "truncated"
            continue
        _, unit, _, pdu = FramerRTU(table).decode(data[:size])
        if pdu:
            return Look(size, "", Frame(unit, pdu, is_request=table is _REQUESTS))
        reason = "bad_checksum"
    return Look(0, reason)


def look_tcp(data: bytes, at_end: bool, rules: Rules) -> Look:
    """What begins with the first byte, over TCP.

    There is no checksum: protocol 0, a length and data that agree with the function must do.
    """
    # The protocol identifier of the MBAP header, 0 for Modbus.
    if any(data[2:4]):
        return Look(0, "noise")
    if len(data) < MBAP_BYTES:
        return Look(0, "truncated") if at_end else NEED_MORE
    length = int.from_bytes(data[4:6], "big")
    if not SHORTEST_TCP <= length <= LONGEST_TCP:
        return Look(0, "bad_length")
    if len(data) < MBAP_BYTES + length:
        return Look(0, "truncated") if at_end else NEED_MORE
    used, unit, transaction, pdu = _SOCKET.decode(data[: MBAP_BYTES + length])
    reason = "noise"
    for table in rules.tables:
        size = _rtu_size(table, data[MBAP_BYTES:used] + bytes(CRC_BYTES), rules.functions)
        if size == length + CRC_BYTES:
            is_request = table is _REQUESTS
            return Look(used, "", Frame(unit, pdu, is_request, transaction))
        if size is not None:
            reason = "bad_length"
    return Look(0, reason)


def _rtu_size(table: DecodePDU, data: bytes, functions: frozenset[int]) -> int | None:
    """Bytes of the RTU frame at the start of `data`; 0 while that cannot be told, None for none."""
    if len(data) > 1 and not _has_function(table, data[1], functions):
        return None
    if len(data) < FramerRTU.MIN_SIZE:
        return 0
    kind = table.lookupPduClass(data)
    if kind is None or (table is _RESPONSES and not _byte_count_fits(data)):
        return None
    try:
        size = kind.calculateRtuFrameSize(data)
    except (ModbusException, IndexError, struct.error):
        return None
    # Longer is none, though a byte count may say so: 256 bytes are the limit of RTU.
    return size if size <= LONGEST_RTU else None


def _has_function(table: DecodePDU, code: int, functions: frozenset[int]) -> bool:
    if code & EXCEPTION and table is _REQUESTS:
        return False
    return code & ~EXCEPTION in functions


def _byte_count_fits(data: bytes) -> bool:
    """The answer to a read has at least one byte, and whole registers."""
    if data[1] in REGISTER_READS:
        return data[2] % 2 == 0 and 0 < data[2] <= 2 * MOST_REGISTERS
    return data[1] not in BIT_READS or 0 < data[2] <= 2 * MOST_REGISTERS


class Decoder(FrameSearch[Frame]):
    """Cuts a byte stream into Modbus frames, resynchronising after noise.

    `look`: `look_rtu` or `look_tcp`. `find_starts` finds beforehand where a look is worth its time;
    it pays for recordings.
    """

    def __init__(
        self,
        look: Callable[[bytes, bool, Rules], Look],
        rules: Rules,
        find_starts: Callable[[bytes, Rules], FrameStarts] | None = None,
    ) -> None:
        super().__init__()
        self._look_at = look
        self._rules = rules
        self._find_starts = find_starts
        self._starts: FrameStarts | None = None
        """Of the bytes kept during one scan."""

    def _scan(self, *, at_end: bool) -> list[Frame | Skipped]:
        self._starts = None
        if self._find_starts is not None and len(self._kept) > LONGEST_FRAME:
            self._starts = self._find_starts(bytes(self._kept), self._rules)
        return super()._scan(at_end=at_end)

    def _look(self, start: int, *, at_end: bool) -> Look:
        ahead = bytes(self._kept[start : start + LONGEST_FRAME])
        return self._look_at(ahead, at_end, self._rules)

    def _noise_ahead(self, start: int) -> int:
        """Bytes from here that begin no frame, nor say more about the stretch than is known."""
        if self._starts is None:
            return 0
        is_noise = self._reason in ("", "noise")
        marks = self._starts.plausible if is_noise else self._starts.possible
        place = marks.find(1, start)
        end = len(marks) if place < 0 else place
        return min(end - start, MOST_NOISE_KEPT - len(self._dropped))


def rtu_answers() -> Decoder:
    """What a master hears: answers, and its own requests where the adapter echoes them."""
    return Decoder(look_rtu, AS_MASTER)


def rtu_requests() -> Decoder:
    """What a meter hears."""
    return Decoder(look_rtu, AS_METER)


def tcp_answers() -> Decoder:
    """Like `rtu_answers`, over TCP."""
    return Decoder(look_tcp, AS_MASTER)


def tcp_requests() -> Decoder:
    """Like `rtu_requests`, over TCP."""
    return Decoder(look_tcp, AS_METER)


def exact_pdu(data: bytes) -> Frame | None:
    """The frame of unit 0 that a PDU alone would be, when the PDU fills `data`.

    An answer before a request.
    """
    as_rtu = b"\0" + data + bytes(CRC_BYTES)
    for table in (_RESPONSES, _REQUESTS):
        is_request = table is _REQUESTS
        if _rtu_size(table, as_rtu, ALL_FUNCTIONS) == len(as_rtu):
            with suppress(FrameError):
                parse(data, is_request=is_request)
                return Frame(0, data, is_request=is_request)
    return None
