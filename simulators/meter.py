"""A simulated DL/T 645-2007 meter: state and time, and the answer to each frame. No I/O, no task."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Final, Literal

from protocols.dlt645 import functions
from protocols.dlt645.bcd import decode_time, encode_bcd
from protocols.dlt645.frame import BROADCAST, Frame
from protocols.errors import FrameError
from simulators import answers
from simulators.chance import happens, series
from simulators.clock import MeterClock, Midnight
from simulators.load import MWH_PER_KWH, RATES, LoadCurve
from simulators.parameters import Parameters, load_records
from simulators.relay import Relay, RelayRefused

MWH_PER_DIGIT: Final = MWH_PER_KWH // 100
"""The last digit of a register: 0.01 kWh."""
REGISTER_WRAPS: Final = 10**8
"""After 999999.99 a register shows 0."""
DAILY_FREEZES: Final = 62
INSTANT_FREEZES: Final = 3
FRAME_LIMIT: Final = 200
BROADCAST_TIME_LIMIT: Final = timedelta(minutes=5)
"""A broadcast moves the clock by no more than this, and not that near to midnight."""

EVENTS_KEPT: Final = 1000

_OTHER_ERROR: Final = 0x01
_UNAUTHORISED: Final = 0x04
_KEYED_FUNCTIONS: Final = frozenset((functions.WRITE_ADDRESS, functions.CLEAR_METER))
"""Need the programming key pressed on the meter; nobody is there to press it."""
_READS: Final = frozenset((functions.READ, functions.READ_FOLLOW, functions.READ_ADDRESS))
_ANY: Final = "A"

EmptyFreeze = Literal["zeros", "ff", "refuse"]
"""What a meter says about a day that it did not freeze: zero time and FF registers, all FF, or D1 02."""


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """Something that happened to a meter at true site time `at`: kind is control, relay, button, clock or freeze."""

    at: datetime
    address: str
    kind: str
    detail: dict[str, str]


@dataclass(frozen=True, slots=True)
class Freeze:
    """One freeze: `stamp` is the meter's own midnight, `at` the true site time of it."""

    stamp: datetime
    at: datetime


class SimulatedMeter:
    """One meter. Every time in here is site time: a wall clock without zone that never goes back.

    `now` gives the true one; what the meter shows is `clock`. Energy is an exact function of time: the load curve since
    `installed`, less what did not flow while the relay was open. `level` (2 digits) and `password` (6 digits)
    open control and writing. `frame_limit` is the greatest L of an
    answer: longer blocks are told in follow-up frames.
    """

    def __init__(
        self,
        address: str,
        *,
        now: Callable[[], datetime],
        curve: LoadCurve | None = None,
        initial_kwh: Decimal = Decimal(0),
        installed: date = date(2024, 1, 1),
        tariffs: int = RATES,
        phases: int = 1,
        voltage_v: Decimal = Decimal("220.0"),
        clock: MeterClock | None = None,
        relay: Relay | None = None,
        meter_type: int = 0,
        level: str = "02",
        password: str = "000000",  # noqa: S107 - what a meter has that nobody set
        remaining_yuan: Decimal | None = None,
        skipped_freezes: Collection[date] = (),
        skipped_freeze_permille: int = 0,
        empty_freeze: EmptyFreeze = "zeros",
        frame_limit: int = FRAME_LIMIT,
        wake_up: int = 4,
        journal: Callable[[MeterEvent], None] | None = None,
    ) -> None:
        self.address = address
        self.now = now
        self.curve = curve or LoadCurve(mwh_per_day=8 * MWH_PER_KWH, key=series(address))
        self.installed = datetime(installed.year, installed.month, installed.day)  # noqa: DTZ001
        self.tariffs = tariffs
        self.phases = phases
        self.voltage_v = voltage_v
        self.clock = clock or MeterClock(self.installed, self.installed)
        self.relay = relay or Relay()
        self.meter_type = meter_type
        self.level = level
        self.password = password
        self.remaining_yuan = remaining_yuan
        self.empty_freeze = empty_freeze
        self.frame_limit = frame_limit
        self.wake_up = wake_up
        self.parameters = Parameters()
        self.events: deque[MeterEvent] = deque(maxlen=EVENTS_KEPT)
        self._journal = journal
        self._base_mwh = self._at_install(int(initial_kwh * MWH_PER_KWH))
        self._skipped_freezes = skipped_freezes
        self._skipped_freeze_permille = skipped_freeze_permille
        self._key = series(self.curve.key, "skipped freezes")
        self._moves_seen = 0
        self._lost_mwh = [(0,) * (1 + tariffs)]
        self._instant_freezes: list[Freeze] = []
        self._clock_broadcast_on: date | None = None
        self._follow_ups: tuple[bytes, list[bytes]] = (b"", [])

    # What is true

    def true_register(self, at: datetime) -> Decimal:
        """The forward active total in kWh, as the display shows it, at any true site time up to now."""
        self._settled()
        return Decimal(self.registers(at)[0]).scaleb(-2)

    def registers(self, at: datetime) -> tuple[int, ...]:
        """Total and each tariff at a true site time, in whole 0.01 kWh, truncated as a display does."""
        return tuple(mwh // MWH_PER_DIGIT % REGISTER_WRAPS for mwh in self._energy_mwh(at))

    def power_mw(self, at: datetime) -> int:
        """Active power in thousandths of a watt."""
        return 0 if self.relay.is_open else self.curve.power_mw(at)

    def daily_freezes(self, at: datetime) -> Iterator[Freeze]:
        """What the meter remembers at a true site time, newest first: number 1 of DL/T 645 comes first."""
        return map(self._at_midnight, self._remembered_midnights(at))

    def daily_freeze(self, number: int, at: datetime) -> Freeze | None:
        """The freeze with that number (1 is the newest), None when there is none yet."""
        midnight = next(islice(self._remembered_midnights(at), number - 1, None), None)
        return midnight and self._at_midnight(midnight)

    def instant_freeze(self, number: int) -> Freeze | None:
        """The freeze that command 16 made, 1 is the newest."""
        return self._instant_freezes[-number] if 0 < number <= len(self._instant_freezes) else None

    # What happens to it

    def settle(self) -> None:
        """Let happen what was due until now: a delayed trip moves the relay."""
        self._settled()

    def press_button(self) -> None:
        """The customer holds the button of the relay."""
        at = self._settled()
        self._tell(at, "button", {})
        self.relay.press_button(at)
        self._settled(at)

    def switch(self, *, to_open: bool) -> None:
        """What the write of a relay register does: like a trip, or a close without the customer. RelayRefused."""
        at = self._settled()
        self._tell(at, "control", {"action": "trip" if to_open else "close"})
        if to_open:
            self.relay.trip(at)
        else:
            self.relay.close(at)
        self._settled(at)

    def force_relay(self, *, to_open: bool) -> None:
        """Somebody else moves the relay. RelayRefused when there is none."""
        at = self._settled()
        self.relay.force(at, to_open=to_open)
        self._settled(at)

    def answer(self, request: Frame) -> Frame | None:
        """The answer, None for silence: not for this meter, a broadcast, or a function that it does not know."""
        if request.is_response or not self._is_asked(request):
            return None
        at = self._settled()
        match request.function:
            case functions.READ:
                reply = self._read(request, at)
            case functions.READ_FOLLOW:
                reply = self._read_follow(request)
            case functions.READ_ADDRESS:
                reply = self._reply(request, encode_bcd(int(self.address), 6))
            case functions.WRITE:
                reply = self._write(request, at)
            case functions.CONTROL:
                reply = self._control(request, at)
            case functions.FREEZE:
                reply = self._freeze(request, at)
            case functions.BROADCAST_TIME:
                self._take_broadcast_time(request.data, at)
                return None
            case functions.CHANGE_BAUD:
                reply = self._reply(request, request.data)
            case functions.CHANGE_PASSWORD:
                reply = self._change_password(request)
            case functions.CLEAR_DEMAND | functions.CLEAR_EVENTS:
                reply = self._clear(request)
            case keyed if keyed in _KEYED_FUNCTIONS:
                reply = self._refuse(request, _UNAUTHORISED)
            case _:
                return None
        return None if request.address == BROADCAST else reply

    def _is_asked(self, request: Frame) -> bool:
        """Its own address; 99..99 for time and freeze; A in place of any digit, for reads only."""
        if request.address == self.address:
            return True
        if request.address == BROADCAST:
            return request.function in (functions.BROADCAST_TIME, functions.FREEZE)
        return request.function in _READS and all(
            asked in (_ANY, digit) for asked, digit in zip(request.address, self.address, strict=True)
        )

    def _read(self, request: Frame, at: datetime) -> Frame:
        identifier = request.data[:4]
        which = request.data[4:]
        data = load_records(self, identifier[::-1], which, at) if which else answers.read(self, identifier[::-1], at)
        if data is None:
            return self._refuse(request, functions.NO_SUCH_DATA)
        first, rest = data[: self.frame_limit - 4], data[self.frame_limit - 4 :]
        size = self.frame_limit - 5
        self._follow_ups = identifier, [rest[i : i + size] for i in range(0, len(rest), size)]
        return self._reply(request, identifier + first, has_more=bool(rest))

    def _read_follow(self, request: Frame) -> Frame:
        """DI + SEQ: the part with that number of the block that was read last; it may be asked for again."""
        identifier, parts = self._follow_ups
        number = request.data[4] if len(request.data) == 5 else 0
        if request.data[:4] != identifier or not 0 < number <= len(parts):
            return self._refuse(request, functions.NO_SUCH_DATA)
        data = identifier + parts[number - 1] + bytes((number,))
        return self._reply(request, data, has_more=number < len(parts))

    def _write(self, request: Frame, at: datetime) -> Frame:
        identifier, secret, value = request.data[:4][::-1].hex().upper(), request.data[4:8], request.data[12:]
        if not self._is_authorised(secret):
            return self._refuse(request, _UNAUTHORISED)
        shown = self.clock.shows(at)
        try:
            if identifier == "04000101":
                written = decode_time(value, "WW DD MM YY")
                to = written and datetime.combine(written, shown.time())
            elif identifier == "04000102":
                written = decode_time(bytes(value) + b"\x01\x01\x01", "ss mm hh DD MM YY")
                to = written and datetime.combine(shown, written.time())
            elif identifier == "0400010C":
                to = decode_time(value, "ss mm hh WW DD MM YY")
            elif self.parameters.write(identifier, value):
                return self._reply(request)
            else:
                return self._refuse(request, functions.NO_SUCH_DATA)
        except FrameError:
            to = None
        if to is None:
            return self._refuse(request, _OTHER_ERROR)
        self._set_clock(at, to, how="write")
        return self._reply(request)

    def _change_password(self, request: Frame) -> Frame:
        """DI, old and new level and password; the operator's are one, whatever their number."""
        old, new = request.data[4:8], request.data[8:]
        if len(new) != 4 or not self._is_authorised(old):
            return self._refuse(request, _UNAUTHORISED)
        self.level, self.password = new[:1].hex(), new[:0:-1].hex()
        return self._reply(request, new)

    def _clear(self, request: Frame) -> Frame:
        """It measures no demand and keeps no record that could be cleared, but checks who asks."""
        length = 8 if request.function == functions.CLEAR_DEMAND else 12
        if len(request.data) != length or not self._is_authorised(request.data[:4]):
            return self._refuse(request, _UNAUTHORISED)
        return self._reply(request)

    def _control(self, request: Frame, at: datetime) -> Frame:
        """1C: PA P0 P1 P2, operator, N1, N2, and the latest time (by the meter's clock) at which it may be done."""
        data = request.data
        reply = self._refuse(request, self._obey(data, at))
        if reply.data == b"\x00":
            reply = self._reply(request)
        self._tell(
            at,
            "control",
            {
                "action": data[8:9].hex().upper(),
                "duration": data[9:10].hex().upper(),
                "level": data[:1].hex().upper(),
                "operator": data[4:8][::-1].hex().upper(),
                "expires": data[10:16][::-1].hex().upper(),
                "answer": f"{reply.control:02X} {reply.data.hex().upper()}".strip(),
            },
        )
        self._settled(at)
        return reply

    def _obey(self, data: bytes, at: datetime) -> int:
        """Do a control command; the error word, 0 when it was accepted."""
        if not self._is_authorised(data[:4]):
            return _UNAUTHORISED
        if len(data) != 16:
            return _OTHER_ERROR
        action, duration = data[8], timedelta(minutes=5 * data[9])
        relay = self.relay
        try:
            expires = decode_time(data[10:], "ss mm hh DD MM YY")
            if expires is None or expires < self.clock.shows(at):
                return _OTHER_ERROR
            match action:
                case 0x1A:
                    relay.trip(at)
                case 0x1B:
                    relay.allow_close(at)
                case 0x1C:
                    relay.close(at)
                case 0x1D | 0x1E:
                    relay.trip(at, back_after=duration, closes_directly=action == 0x1E)
                case 0x2A | 0x2B:
                    relay.pre_trip_alarm = action == 0x2A
                case 0x3A | 0x3B:
                    relay.keep_power(at, on=action == 0x3A)
                case _:
                    return _OTHER_ERROR
        except (FrameError, RelayRefused):
            return _OTHER_ERROR
        return 0

    def _freeze(self, request: Frame, at: datetime) -> Frame:
        """Only the pattern 99999999, freeze now; this meter has no scheduled freeze."""
        if request.data != b"\x99\x99\x99\x99":
            return self._refuse(request, _OTHER_ERROR)
        shown = self.clock.shows(at)
        self._instant_freezes = [*self._instant_freezes[1 - INSTANT_FREEZES :], Freeze(shown, at)]
        self._tell(at, "freeze", {"stamp": shown.isoformat(" ", "seconds")})
        return self._reply(request)

    def _take_broadcast_time(self, data: bytes, at: datetime) -> None:
        """At most 5 minutes, once a day, and not within 5 minutes of midnight; otherwise nothing happens."""
        try:
            to = decode_time(data, "ss mm hh DD MM YY")
        except FrameError:
            return
        shown = self.clock.shows(at)
        if to is None or shown.date() == self._clock_broadcast_on or abs(to - shown) > BROADCAST_TIME_LIMIT:
            return
        margins = (-BROADCAST_TIME_LIMIT, BROADCAST_TIME_LIMIT)
        if any((moment + margin).date() != shown.date() for moment in (shown, to) for margin in margins):
            return
        self._clock_broadcast_on = shown.date()
        self._set_clock(at, to, how="broadcast")

    def _set_clock(self, at: datetime, to: datetime, *, how: str) -> None:
        before = self.clock.shows(at)
        self.clock.set(at, to)
        self._tell(at, "clock", {"how": how, "from": before.isoformat(" "), "to": to.isoformat(" ")})

    def _is_authorised(self, secret: bytes) -> bool:
        return secret == bytes.fromhex(self.level) + bytes.fromhex(self.password)[::-1]

    def _settled(self, at: datetime | None = None) -> datetime:
        """Now, after everything that was due has happened and the energy that did not flow is known."""
        at = at or self.now()
        relay = self.relay
        relay.settle(at)
        for moved, to_open in relay.moves[self._moves_seen :]:
            self._lost_mwh.append(self._lost_until(moved))
            self._tell(moved, "relay", {"state": "open" if to_open else "closed"})
        self._moves_seen = len(relay.moves)
        return at

    def _energy_mwh(self, at: datetime) -> tuple[int, ...]:
        flowed = self.curve.energy_mwh(max(at, self.installed), self.tariffs)
        parts = zip(self._base_mwh, flowed, self._lost_until(at), strict=False)
        return tuple(base + used - lost for base, used, lost in parts)

    def _at_install(self, initial_mwh: int) -> tuple[int, ...]:
        """What to add to the curve so that it shows the initial register on the day of the installation."""
        curve = self.curve.energy_mwh(self.installed, self.tariffs)
        shares = (rate[24] for rate in self.curve.shape.used_before_hour)
        whole = self.curve.shape.used_before_hour[0][24]
        return tuple(initial_mwh * share // whole - energy for share, energy in zip(shares, curve, strict=False))

    def _lost_until(self, at: datetime) -> tuple[int, ...]:
        """What the curve would have used while the relay was open, up to a true time."""
        moves = self.relay.moves
        known = bisect_right(moves, at, key=lambda move: move[0], hi=min(len(moves), len(self._lost_mwh) - 1))
        lost = self._lost_mwh[known]
        if not known or not moves[known - 1][1]:
            return lost
        since = self.curve.energy_mwh(moves[known - 1][0], self.tariffs)
        until = self.curve.energy_mwh(at, self.tariffs)
        return tuple(before + end - begin for before, end, begin in zip(lost, until, since, strict=True))

    def _remembered_midnights(self, at: datetime) -> Iterator[Midnight]:
        return islice((it for it in self.clock.midnights(at) if not self._skips(it.stamp)), DAILY_FREEZES)

    def _at_midnight(self, midnight: Midnight) -> Freeze:
        return Freeze(midnight.stamp, self.clock.true_time(midnight))

    def _skips(self, stamp: datetime) -> bool:
        """The meter was without power at this midnight."""
        if self._skipped_freeze_permille and happens(self._key, stamp.toordinal(), self._skipped_freeze_permille):
            return True
        return bool(self._skipped_freezes) and stamp.date() in self._skipped_freezes

    def _tell(self, at: datetime, kind: str, detail: dict[str, str]) -> None:
        event = MeterEvent(at, self.address, kind, detail)
        self.events.append(event)
        if self._journal:
            self._journal(event)

    def _reply(self, request: Frame, data: bytes = b"", *, has_more: bool = False) -> Frame:
        return Frame(self.address, request.function | (0xA0 if has_more else 0x80), data)

    def _refuse(self, request: Frame, error: int) -> Frame:
        return Frame(self.address, request.function | 0xC0, bytes((error,)))
