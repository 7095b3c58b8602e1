"""DL/T 645-2007 meters that do not do what the standard says, each in ways that can be chosen.

Firmware has such mistakes; a master has to live with them, and a certificate has to name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from protocols.dlt645 import functions
from protocols.dlt645.bcd import decode_time, encode_time
from protocols.dlt645.frame import ANY_ADDRESS, BROADCAST, Frame
from simulators.dlt645.access import SECRET_WIDTH
from simulators.dlt645.meter_2007 import SimulatedMeter2007

CLOCK: Final = "ss mm hh DD MM YY"
EXPIRY: Final = slice(10, 16)
"""Of a control command, behind authority, N1 and N2."""
ACTION: Final = 8
KEEP_POWER: Final = 0x3A
FIRST_SECRET: Final = {functions.WRITE: 4, functions.CONTROL: 0}
"""Where PA P0 P1 P2 begin in the data."""
_WILDCARD: Final = "A"
_NO_SUCH_DATA: Final = 0x02
_EMPTY_FREEZES: Final = ("0506003E", "050600FE")


class DeviatingMeter2007(SimulatedMeter2007):
    """A meter with mistakes of DEVIATIONS."""

    def __init__(self, *arguments: Any, deviations: Iterable[str], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.deviations = tuple(deviations)
        self.hears_others = "answers_others" in self.deviations
        self.started = self.state.now()

    def answer(self, request: Frame) -> Frame | None:
        """See SimulatedMeter2007."""
        taken = request
        for name in self.deviations:
            if name in _TAKING:
                taken = _TAKING[name](self, taken)
        answer = super().answer(taken)
        for name in self.deviations:
            if name in _ANSWERING:
                answer = _ANSWERING[name](self, request, answer)
        return answer

    def plain_answer(self, request: Frame) -> Frame | None:
        """What a meter without mistakes says."""
        return super().answer(request)


# --- what is taken for another request


def _any_password(meter: DeviatingMeter2007, request: Frame) -> Frame:
    """Every password opens it."""
    at = FIRST_SECRET.get(request.function)
    if at is None:
        return request
    secret = bytes.fromhex(meter.access.level) + bytes.fromhex(meter.access.password)[::-1]
    data = request.data[:at] + secret + request.data[at + SECRET_WIDTH :]
    return request._replace(data=data)


def _expired(meter: DeviatingMeter2007, request: Frame) -> Frame:
    """A command that expired is obeyed."""
    if request.function != functions.CONTROL:
        return request
    shown = meter.state.clock.shows(meter.state.now()) + timedelta(hours=1)
    data = request.data[: EXPIRY.start] + encode_time(shown, CLOCK) + request.data[EXPIRY.stop :]
    return request._replace(data=data)


def _never_in_time(meter: DeviatingMeter2007, request: Frame) -> Frame:
    """Every command is held for expired."""
    if request.function != functions.CONTROL:
        return request
    data = (
        request.data[: EXPIRY.start] + bytes.fromhex("000000010120") + request.data[EXPIRY.stop :]
    )
    return request._replace(data=data)


# --- what is answered otherwise


def _to_others(meter: DeviatingMeter2007, request: Frame, answer: Frame | None) -> Frame | None:
    """It answers for other addresses, as if they were its own."""
    is_other = request.address not in (meter.address, BROADCAST) and "A" not in request.address
    return _in_its_place(meter, request) if is_other else answer


def _to_broadcasts(meter: DeviatingMeter2007, request: Frame, answer: Frame | None) -> Frame | None:
    """It answers a read of 99..99."""
    is_read = request.address == BROADCAST and request.function == functions.READ
    return _in_its_place(meter, request) if is_read else answer


def _in_its_place(meter: DeviatingMeter2007, request: Frame) -> Frame | None:
    return meter.plain_answer(request._replace(address=meter.address))


def _with_the_wildcard(
    meter: DeviatingMeter2007, request: Frame, answer: Frame | None
) -> Frame | None:
    """An answer to AA..AA carries AA..AA."""
    if answer is None or _WILDCARD not in request.address:
        return answer
    return answer._replace(address=request.address)


def _deaf_to_abbreviated(
    meter: DeviatingMeter2007, request: Frame, answer: Frame | None
) -> Frame | None:
    """It knows AA..AA and no shorter wildcard."""
    is_short = _WILDCARD in request.address and request.address != ANY_ADDRESS
    return None if is_short else answer


def _zeros(meter: DeviatingMeter2007, request: Frame, answer: Frame | None) -> Frame | None:
    """What it does not know is 0."""
    if answer is None or not answer.is_abnormal or request.function != functions.READ:
        return answer
    control = request.function | 0x80
    return answer._replace(control=control, data=request.data[:4] + bytes(4))


def _wrong_error_bit(
    meter: DeviatingMeter2007, request: Frame, answer: Frame | None
) -> Frame | None:
    """It refuses with the bit of another reason."""
    if answer is None or not answer.is_abnormal:
        return answer
    return answer._replace(data=b"\x01")


def _long_error(meter: DeviatingMeter2007, request: Frame, answer: Frame | None) -> Frame | None:
    """Its error word has two bytes."""
    if answer is None or not answer.is_abnormal:
        return answer
    return answer._replace(data=bytes((_NO_SUCH_DATA, 0)))


def _of_data(change: Callable[[DeviatingMeter2007, str, bytes], bytes]) -> _Answering:
    """A change of what stands behind the identifier of a good answer to a read."""

    def changed(meter: DeviatingMeter2007, request: Frame, answer: Frame | None) -> Frame | None:
        if answer is None or answer.is_abnormal or request.function != functions.READ:
            return answer
        name = request.data[3::-1].hex().upper()
        return answer._replace(data=answer.data[:4] + change(meter, name, answer.data[4:]))

    return changed


def _wrong_rates(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    return data[:4] + b"\x00\x00\x90\x00" + data[8:] if name == "0001FF00" else data


def _wrong_total(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    return bytes(4) + data[4:] if name == "0001FF00" else data


def _long_energy(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    return data + b"\x00" if name == "00010000" else data


def _wrong_weekday(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    return bytes(((data[0] + 1) % 7,)) + data[1:] if name == "04000101" else data


def _stopped_clock(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    if name != "04000102":
        return data
    return encode_time(meter.state.clock.shows(meter.started), "ss mm hh")


def _stamped_late(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    """Daily freezes have the minute in which they were written."""
    return b"\x01" + data[1:] if name.startswith("050600") and any(data) else data


def _oldest_first(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    """Index 1 is the oldest of three."""
    if not name.startswith("0506") or name[6:] not in ("01", "03"):
        return data
    other = name[:6] + {"01": "03", "03": "01"}[name[6:]]
    told = meter.plain_answer(Frame(meter.address, functions.READ, bytes.fromhex(other)[::-1]))
    return data if told is None or told.is_abnormal else told.data[4:]


def _shifted(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    """Index 1 is yesterday's: the newest freeze is not told."""
    if not name.startswith("050600"):
        return data
    other = f"{name[:6]}{int(name[6:], 16) + 1 & 0xFF:02X}"
    told = meter.plain_answer(Frame(meter.address, functions.READ, bytes.fromhex(other)[::-1]))
    return data if told is None or told.is_abnormal else told.data[4:]


def _small_freezes(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    """The newest freeze has another meter's registers."""
    return b"\x00\x00\x50\x00" + data[4:] if name == "05060101" else data


def _always_stamped(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    """A freeze that never was has today's stamp."""
    shown = meter.state.clock.shows(meter.state.now())
    return encode_time(shown, "mm hh DD MM YY") if name in _EMPTY_FREEZES else data


def _reserved_type(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    return bytes((data[0], data[1] | 3)) if name == "04000503" else data


def _rolls_at_100000(meter: DeviatingMeter2007, name: str, data: bytes) -> bytes:
    """Its register has one digit less than the standard's."""
    if name.startswith(("000100", "0001FF", "050601")) and len(data) >= 4:
        return data[:3] + bytes((data[3] & 0x0F,)) + data[4:]
    return data


def _wrong_part(meter: DeviatingMeter2007, request: Frame, answer: Frame | None) -> Frame | None:
    """A further part of a long block carries another number."""
    if answer is None or request.function != functions.READ_FOLLOW or answer.is_abnormal:
        return answer
    return answer._replace(data=answer.data[:-1] + b"\x63")


def _forgets_writes(
    meter: DeviatingMeter2007, request: Frame, answer: Frame | None
) -> Frame | None:
    """A write is confirmed and not kept."""
    is_write = request.function == functions.WRITE and request.address == meter.address
    if is_write and meter.access.authorised(request.data[4:]) is not None:
        meter.state.parameters.write(request.data[3::-1].hex().upper(), b"\x15", meter.state.now())
    return answer


def _any_time(meter: DeviatingMeter2007, request: Frame, answer: Frame | None) -> Frame | None:
    """It takes every time that is told to all."""
    if request.function == functions.BROADCAST_TIME:
        to: datetime | None = decode_time(request.data, CLOCK)
        if to is not None:
            meter.state.set_clock(meter.state.now(), to, how="broadcast")
    return answer


def _no_kept_power(meter: DeviatingMeter2007, request: Frame, answer: Frame | None) -> Frame | None:
    """Keeping power is confirmed and not done."""
    is_control = request.function == functions.CONTROL and len(request.data) > ACTION
    if is_control and request.data[ACTION] == KEEP_POWER and answer is not None:
        meter.state.relay.keep_power(meter.state.now(), on=False)
    return answer


_Taking = Callable[[DeviatingMeter2007, Frame], Frame]
_Answering = Callable[[DeviatingMeter2007, Frame, "Frame | None"], "Frame | None"]

_TAKING: Final[Mapping[str, _Taking]] = {
    "any_password": _any_password,
    "obeys_expired": _expired,
    "never_in_time": _never_in_time,
}
_ANSWERING: Final[Mapping[str, _Answering]] = {
    "answers_others": _to_others,
    "answers_broadcasts": _to_broadcasts,
    "repeats_wildcard": _with_the_wildcard,
    "deaf_to_abbreviated": _deaf_to_abbreviated,
    "zeros_for_unknown": _zeros,
    "wrong_error_bit": _wrong_error_bit,
    "two_error_bytes": _long_error,
    "wrong_rates": _of_data(_wrong_rates),
    "wrong_total": _of_data(_wrong_total),
    "five_byte_energy": _of_data(_long_energy),
    "wrong_weekday": _of_data(_wrong_weekday),
    "stopped_clock": _of_data(_stopped_clock),
    "late_stamps": _of_data(_stamped_late),
    "oldest_first": _of_data(_oldest_first),
    "index_shifted": _of_data(_shifted),
    "wrong_freeze": _of_data(_small_freezes),
    "always_stamped": _of_data(_always_stamped),
    "reserved_type": _of_data(_reserved_type),
    "rolls_at_100000": _of_data(_rolls_at_100000),
    "wrong_part": _wrong_part,
    "forgets_writes": _forgets_writes,
    "takes_any_time": _any_time,
    "keeps_no_power": _no_kept_power,
}
DEVIATIONS: Final = (*_TAKING, *_ANSWERING)
"""What a meter can do wrong."""
