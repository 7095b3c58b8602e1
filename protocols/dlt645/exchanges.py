"""What a DL/T 645-2007 meter is asked, as exchanges.

Each yields requests and receives their answers. Every exchange raises MeterRefused on an abnormal
answer and FrameError on a normal one whose data are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Final

from protocols.dlt645 import functions
from protocols.dlt645.bcd import (
    ENERGY_WIDTH,
    Registers,
    decode_bcd,
    decode_registers,
    decode_time,
    digits_of,
    encode_bcd,
    encode_time,
    is_missing,
)
from protocols.dlt645.frame import ANY_ADDRESS, BROADCAST, Decoder, Frame
from protocols.dlt645.identifiers import meaning
from protocols.dlt645.identity import asset_number, meter_number
from protocols.dlt645.load_records import LoadRecord, decode_load_records
from protocols.dlt645.messages import (
    addressee,
    check,
    decode_clock,
    digits_on_the_wire,
    encode_request,
    identifier_on_the_wire,
    is_from,
    is_meter_address,
    password_on_the_wire,
    read_frames,
    repeats_identifier,
)
from protocols.errors import FrameError, MeterdError, MeterRefused
from protocols.exchange import Codec, Exchange
from protocols.reading import MeterIdentity, PrepaymentMode

SECRET_FUNCTIONS: Final = frozenset(
    (
        functions.SECURITY,
        functions.WRITE,
        functions.CHANGE_PASSWORD,
        functions.CLEAR_DEMAND,
        functions.CLEAR_METER,
        functions.CLEAR_EVENTS,
        functions.CONTROL,
    )
)
"""Their frames carry a password."""
FREEZE_NOW: Final = "99999999"
"""MMDDhhmm with 99 for any: the freeze is made at once."""
STAMP: Final = "mm hh DD MM YY"
CLOCK: Final = "ss mm hh DD MM YY"
SHORTLY_AFTER_MIDNIGHT: Final = timedelta(minutes=10)
"""A date that was read before a time of day younger than this may be yesterday's: it is read
again."""


PREPAYMENT_MODES: Final[dict[int, PrepaymentMode]] = {0: "none", 1: "energy", 2: "money"}
"""By bits 8-9 of status word 3; 3 is reserved."""


class FreezeMoved(MeterdError):
    """The meter froze anew while its freezes were read.

    What was read may belong to two days: read again."""


class RelayAction(Enum):
    """N1 of the control command. TRIP_FOR_* close again after `duration` x 5 min."""

    TRIP = 0x1A
    ALLOW_CLOSE = 0x1B
    """The customer must press the button; some private-label meters close at once."""
    CLOSE = 0x1C
    # Which of 1D and 1E permits and which closes by itself is not the same in all sources.
    TRIP_FOR_THEN_ALLOW = 0x1D
    TRIP_FOR_THEN_CLOSE = 0x1E
    ALARM = 0x2A
    END_ALARM = 0x2B
    KEEP_POWER = 0x3A
    END_KEEP_POWER = 0x3B


@dataclass(frozen=True, slots=True)
class StatusWord3:
    """Running status word 3 (04000503)."""

    word: int

    @property
    def relay_open(self) -> bool:
        """Bit 4: the relay is open in fact."""
        return bool(self.word & 1 << 4)

    @property
    def command_open(self) -> bool:
        """Bit 6: the relay is commanded open; it may not have moved yet."""
        return bool(self.word & 1 << 6)

    @property
    def pre_trip_alarm(self) -> bool:
        """Bit 7."""
        return bool(self.word & 1 << 7)

    @property
    def meter_type(self) -> int:
        """Bits 8-9: 0 not prepaid, 1 prepaid by energy, 2 prepaid by money."""
        return self.word >> 8 & 3

    @property
    def keep_power(self) -> bool:
        """Bit 12 (State Grid addendum): supply is kept whatever happens."""
        return bool(self.word & 1 << 12)


@dataclass(frozen=True, slots=True)
class FrozenRegisters:
    """One daily freeze: its own time stamp (the meter's wall clock) and its energies."""

    frozen_at: datetime
    registers: Registers


def read(address: str, identifier: str, which: bytes = b"") -> Exchange[Frame, bytes]:
    """The data behind the identifier, follow-up frames joined.

    `which`: what a read of load records says behind the identifier."""
    wanted = identifier_on_the_wire(identifier)

    def follow_up(number: int) -> Frame:
        return Frame(address, functions.READ_FOLLOW, wanted + bytes((number,)))

    request = Frame(address, functions.READ, wanted + which)
    first, *others = yield from read_frames(request, follow_up, identifier)
    data = first[4:]
    for other in others:
        # SEQ is the last byte of a follow-up answer (92), behind the data.
        data += other[4:-1]
    return data


def read_load_records(
    address: str,
    identifier: str,
    count: int,
    since: datetime | None = None,
) -> Exchange[Frame, list[LoadRecord]]:
    """`count` load records behind an identifier 06 cc 00 NN.

    `since`: by the meter's clock, where NN is 01."""
    if not 1 <= count <= 99:
        raise FrameError(f"{count} load records: 1 to 99 can be asked for")
    # L = 05 with the count alone, 0A with the time behind it.
    which = encode_bcd(count, 1)
    if since is not None:
        which += encode_time(since, STAMP)
    data = yield from read(address, identifier, which)
    return decode_load_records(data)


def read_address() -> Exchange[Frame, str]:
    """The address of the only meter on the line."""
    # Two meters would answer AA..AA at once and garble each other.
    reply = yield Frame(ANY_ADDRESS, functions.READ_ADDRESS)
    check(reply, "the address")
    return digits_of(reply.data)


def read_clock(address: str) -> Exchange[Frame, datetime]:
    """The meter's wall clock (04000101 and 04000102).

    Midnight passing between the two reads does no harm."""
    date = yield from read(address, "04000101")
    time = yield from read(address, "04000102")
    now = decode_clock(address, date, time)
    midnight = now.replace(hour=0, minute=0, second=0)
    if now - midnight < SHORTLY_AFTER_MIDNIGHT:
        date = yield from read(address, "04000101")
        now = decode_clock(address, date, time)
    return now


def read_energy(address: str, identifier: str = "00010000") -> Exchange[Frame, Decimal | None]:
    """One energy register in kWh (kvarh, kVAh), None when the meter has none."""
    data = yield from read(address, identifier)
    if len(data) != ENERGY_WIDTH:
        raise FrameError(
            f"meter {address} answered {identifier} with {len(data)} bytes,"
            f" an energy has {ENERGY_WIDTH}"
        )
    if is_missing(data):
        return None
    known = meaning(identifier)
    has_sign = known is not None and known.record.fields[0].signed
    return decode_bcd(data, 2, signed=has_sign)


def read_registers(address: str) -> Exchange[Frame, Registers]:
    """Forward active energy of this moment (0001FF00).

    A meter that knows no block is asked for the total alone."""
    try:
        data = yield from read(address, "0001FF00")
    except MeterRefused as refusal:
        if not refusal.word & functions.NO_SUCH_DATA:
            raise
        return ((yield from read_energy(address)),)
    return _registers(address, "0001FF00", data)


def read_status_word_3(address: str) -> Exchange[Frame, StatusWord3]:
    """What the relay really does: the answer 9C to a command means accepted, not switched."""
    data = yield from read(address, "04000503")
    if len(data) != 2:
        raise FrameError(
            f"meter {address} answered 04000503 with {len(data)} bytes, a status word has 2"
        )
    return StatusWord3(int.from_bytes(data, "little"))


def read_identity(address: str) -> Exchange[Frame, MeterIdentity]:
    """The meter number (04000402), or the asset number (04000403) where there is none.

    And whether the meter deducts by itself (bits 8-9 of status word 3)."""
    data = yield from read_if_known(address, "04000402")
    serial = meter_number(data)
    if serial is None:
        data = yield from read_if_known(address, "04000403")
        serial = asset_number(data)
    try:
        word = yield from read_status_word_3(address)
    except MeterRefused as refusal:
        if not refusal.word & functions.NO_SUCH_DATA:
            raise
        return MeterIdentity(serial)
    return MeterIdentity(serial, PREPAYMENT_MODES.get(word.meter_type))


def read_if_known(address: str, identifier: str) -> Exchange[Frame, bytes]:
    """The data behind the identifier; none for a meter that knows no such data."""
    try:
        return (yield from read(address, identifier))
    except MeterRefused as refusal:
        if not refusal.word & functions.NO_SUCH_DATA:
            raise
        return b""


def read_daily_freeze(
    address: str,
    index: int,
    *,
    confirm: bool = False,
) -> Exchange[Frame, FrozenRegisters | None]:
    """Forward active energy of the daily freeze `index` (1 = newest), with its own time stamp.

    None when the meter has no freeze there. With `confirm` the stamp is read again at the end;
    FreezeMoved when the meter froze anew in between."""
    stamp_identifier = f"050600{index:02X}"
    try:
        stamp = yield from read(address, stamp_identifier)
        frozen_at = decode_time(stamp, STAMP)
        if frozen_at is None:
            return None
        data = yield from read(address, f"050601{index:02X}")
    except MeterRefused as refusal:
        # A freeze that was never taken: some meters answer zeros or FF, others D1 02.
        if refusal.word & functions.NO_SUCH_DATA:
            return None
        raise
    if confirm:
        stamp_after = yield from read(address, stamp_identifier)
        if stamp_after != stamp:
            raise FreezeMoved(f"meter {address} froze anew while its daily freeze {index} was read")
    registers = _registers(address, f"050601{index:02X}", data)
    return FrozenRegisters(frozen_at, registers)


def set_clock(at: datetime, address: str = BROADCAST) -> Exchange[Frame, None]:
    """Broadcast the time (08). No meter answers: read the clock back.

    A meter takes it only for a difference of up to 5 min, once a day, not within 5 min of
    midnight."""
    yield Frame(address, functions.BROADCAST_TIME, encode_time(at, CLOCK))


def freeze(address: str = BROADCAST, pattern: str = FREEZE_NOW) -> Exchange[Frame, None]:
    """Freeze when the clock matches `pattern` (MMDDhhmm, 99 matches all).

    A broadcast is not answered."""
    is_digits = pattern.isascii() and pattern.isdigit()
    if len(pattern) != 8 or not is_digits:
        raise FrameError(f"freeze pattern {pattern!r} is not MMDDhhmm (8 digits, 99 matches all)")
    reply = yield Frame(address, functions.FREEZE, bytes.fromhex(pattern)[::-1])
    if address != BROADCAST:
        check(reply, f"freeze {pattern}")


def control(
    address: str,
    action: RelayAction,
    *,
    level: str,
    password: str,
    operator: str,
    expires: datetime,
    duration: int = 0,
) -> Exchange[Frame, None]:
    """Command the relay of one meter (1C); returns when the meter accepted.

    That does not mean that the relay moved: read status word 3. `level`: 2 digits, `password`: 6
    digits, `operator`: 8 digits, as written, most significant first. `expires`: the meter's wall
    clock after which it must not act any more. `duration`: in units of 5 min, for TRIP_FOR_*."""
    if not is_meter_address(address):
        raise FrameError(
            f"a control command goes to one meter: {address!r} is not the address of one"
        )
    if not 0 <= duration <= 255:
        raise FrameError(f"duration {duration} does not fit into one byte (units of 5 min)")
    data = b"".join(
        (
            password_on_the_wire(level, password),
            digits_on_the_wire(operator, 4, "operator"),
            bytes((action.value, duration)),
            # The EXPIRY of the command, not the time of action: a meter whose clock is behind it
            # refuses with DC.
            encode_time(expires, CLOCK),
        )
    )
    reply = yield Frame(address, functions.CONTROL, data)
    check(reply, f"control {action.name.lower()}")


def _registers(address: str, identifier: str, data: bytes) -> Registers:
    if not data or len(data) % ENERGY_WIDTH:
        raise FrameError(
            f"meter {address} answered {identifier} with {len(data)} bytes, not 4 for each register"
        )
    return decode_registers(data)


def _is_answer(request: Frame, frame: Frame) -> bool:
    if not frame.is_response or frame.function != request.function:
        return False
    changes_address = request.function == functions.WRITE_ADDRESS
    if not is_from(request, frame, changes_address=changes_address):
        return False
    return frame.is_abnormal or _repeats_what_was_asked(request, frame)


def _repeats_what_was_asked(request: Frame, frame: Frame) -> bool:
    # A late answer to the request before has the right address and function: only the identifier,
    # and the SEQ of a follow-up, tell it apart (rule V01).
    if request.function == functions.READ_ADDRESS:
        return len(frame.data) == 6
    if request.function not in (functions.READ, functions.READ_FOLLOW):
        return True
    if not repeats_identifier(request, frame):
        return False
    if request.function == functions.READ:
        return True
    return len(frame.data) > 4 and frame.data[-1] == request.data[4]


def _has_answer(request: Frame) -> bool:
    # 08 may go to a single address, too: even that one stays silent.
    is_broadcast = request.address == BROADCAST
    return request.function != functions.BROADCAST_TIME and not is_broadcast


def _is_control(frame: Frame) -> bool:
    return frame.function == functions.CONTROL


def _has_secret(frame: Frame) -> bool:
    return frame.function in SECRET_FUNCTIONS


CODEC_2007: Final[Codec[Frame]] = Codec(
    encode=encode_request,
    new_decoder=Decoder,
    addressee=addressee,
    is_answer=_is_answer,
    has_answer=_has_answer,
    is_control=_is_control,
    has_secret=_has_secret,
    is_write=_has_secret,
)
