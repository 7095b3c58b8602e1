"""A simulated DL/T 645-2007 meter: state and time, and the answer to each frame. No I/O, no
task."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import repeat, takewhile
from operator import add, sub
from typing import Final, Literal

from protocols.dlt645 import functions
from protocols.dlt645.bcd import decode_time, encode_bcd
from protocols.dlt645.frame import BROADCAST, Frame
from protocols.errors import FrameError
from simulators.dlt645 import answers, load_records
from simulators.dlt645 import event_records as happenings
from simulators.dlt645.demand import Demand
from simulators.dlt645.freezes import (
    DAILY,
    FREEZE_NOW,
    INSTANT,
    KEPT,
    PATTERN,
    Freeze,
    can_be_scheduled,
    freezes,
    has_switched,
    numbered,
)
from simulators.dlt645.security import HEAD_WIDTH, OTHER_ERROR, SecurityModule
from simulators.state import records
from simulators.state.clock import MeterClock
from simulators.state.load import MWH_PER_DIGIT, MWH_PER_KWH, RATES, REGISTER_WRAPS, LoadCurve
from simulators.state.parameters import Parameters
from simulators.state.records import Records
from simulators.state.relay import Relay, RelayRefused
from simulators.state.seeded import happens, series

FRAME_LIMIT: Final = 200
BROADCAST_TIME_LIMIT: Final = timedelta(minutes=5)
"""A broadcast moves the clock by no more than this, and not that near to midnight."""

EVENTS_KEPT: Final = 1000

_OTHER_ERROR: Final = 0x01
_UNAUTHORISED: Final = 0x04
_BAUD_CANNOT_CHANGE: Final = 0x08
_BAUD_WORDS: Final = (0x02, 0x04, 0x08, 0x10, 0x20, 0x40)
_BAUD_WORD: Final = "04000703"
"""Of the first communication port."""
_CONTROL_WIDTH: Final = 8
"""N1, N2 and the expiry."""
_NOBODY: Final = bytes(4)
"""The operator of what was done without a command."""
_WILDCARD_FUNCTIONS: Final = frozenset(
    (functions.READ, functions.READ_FOLLOW, functions.READ_ADDRESS, functions.WRITE_ADDRESS)
)
_STATUS_OVERDRAFT: Final = 1 << 14
_STATUS_PROGRAMMING: Final = 1 << 3
_STATUS_AUTHENTICATED: Final = 1 << 13
_STATUS_SECOND_SETS: Final = {
    0x03: 1 << 0,
    0x02: 1 << 5,
    0x05: 1 << 10,
    0x07: 1 << 11,
}
"""Bits of status word 3 that say which set of a table is in effect, by the freeze that the switch
is taken for."""
_ANY: Final = "A"

EmptyFreeze = Literal["zeros", "ff", "refuse"]
"""What a meter says about a day that it did not freeze: zero time and FF registers, all FF, or D1
02."""


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """Something that happened to a meter at true site time `at`: kind is control, relay, button,
    clock or freeze."""

    at: datetime
    address: str
    kind: str
    detail: dict[str, str]


class SimulatedMeter:
    """One meter. Every time in here is site time: a wall clock without zone that never goes back.

    `now` gives the true one; what the meter shows is `clock`. Energy is an exact function of time:
    the load curve since `installed`, less what did not flow while the relay was open. `level` (2
    digits) and `password` (6 digits) open control and writing; with a `security_module` only
    authority 98 or 99 does. `programming_key`: somebody holds it pressed. `frame_limit` is the
    greatest L of an answer: longer blocks are told in follow-up frames."""

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
        programming_key: bool = False,
        security_module: bool = False,
        remaining_yuan: Decimal | None = None,
        remaining_kwh: Decimal | None = None,
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
        self.programming_key = programming_key
        self.security = SecurityModule(address) if security_module else None
        self.remaining_yuan = remaining_yuan
        self.remaining_kwh = remaining_kwh
        self.empty_freeze = empty_freeze
        self.frame_limit = frame_limit
        self.wake_up = wake_up
        self.parameters = Parameters()
        self.records = Records()
        self.instant_freezes: list[Freeze] = []
        self.daily_demands: dict[tuple[datetime, timedelta, timedelta], list[Demand]] = {}
        self.cleared_at = datetime.min  # noqa: DTZ901
        self.events: deque[MeterEvent] = deque(maxlen=EVENTS_KEPT)
        self._journal = journal
        self._base_mwh = self._at_install(int(initial_kwh * MWH_PER_KWH))
        self._skipped_freezes = skipped_freezes
        self._skipped_freeze_permille = skipped_freeze_permille
        self._key = series(self.curve.key, "skipped freezes")
        self._moves_seen = 0
        self._lost_mwh = [(0,) * (1 + tariffs)]
        self._cleared_mwh: tuple[int, ...] = ()
        self._demand_clears: list[datetime] = []
        self._power_failures_since = datetime.min  # noqa: DTZ901
        self._relay_operator = _NOBODY
        self._clock_broadcast_on: date | None = None
        self._follow_ups: tuple[bytes, list[bytes]] = (b"", [])

    # What is true

    def true_register(self, at: datetime) -> Decimal:
        """The forward active total in kWh, as the display shows it, at any true site time up to
        now."""
        self._settled()
        return Decimal(self.registers(at)[0]).scaleb(-2)

    def registers(self, at: datetime) -> tuple[int, ...]:
        """Total and each tariff at a true site time, in whole 0.01 kWh, truncated as a display
        does."""
        return tuple(mwh // MWH_PER_DIGIT % REGISTER_WRAPS for mwh in self.energy_mwh(at))

    def energy_mwh(self, at: datetime) -> tuple[int, ...]:
        """Total and each tariff at a true site time, in thousandths of a watt-hour."""
        flowed = self.curve.energy_mwh(max(at, self.installed), self.tariffs)
        parts = zip(self._base_mwh, flowed, self._lost_until(at), strict=False)
        energies = tuple(base + used - lost for base, used, lost in parts)
        if self._cleared_mwh and at >= self.cleared_at:
            return tuple(map(sub, energies, self._cleared_mwh))
        return energies

    def power_mw(self, at: datetime) -> int:
        """Active power in thousandths of a watt, at any true site time up to now."""
        return 0 if self.relay.was_open(at) else self.curve.power_mw(at)

    def daily_freezes(self, at: datetime) -> Iterator[Freeze]:
        """What the meter remembers at a true site time, newest first: number 1 of DL/T 645 comes
        first."""
        return freezes(self, DAILY, at)

    def daily_freeze(self, number: int, at: datetime) -> Freeze | None:
        """The freeze with that number (1 is the newest), None when there is none yet."""
        return numbered(self, DAILY, number, at)

    def instant_freeze(self, number: int) -> Freeze | None:
        """The freeze that command 16 made, 1 is the newest."""
        return numbered(self, INSTANT, number, self.now())

    def midnight_freezes(self, at: datetime) -> Iterator[Freeze]:
        """Of all midnights with power, newest first."""
        return (
            Freeze(it.stamp, self.clock.true_time(it))
            for it in self.clock.midnights(at)
            if not self._skips(it.stamp)
        )

    def midnights_without_power(self, at: datetime) -> Iterator[Freeze]:
        """The others, since the records of power failures were cleared."""
        if not self._skipped_freezes and not self._skipped_freeze_permille:
            return iter(())
        missed = (
            Freeze(it.stamp, self.clock.true_time(it))
            for it in self.clock.midnights(at)
            if self._skips(it.stamp)
        )
        return takewhile(lambda freeze: freeze.at > self._power_failures_since, missed)

    def demand_cleared_until(self, at: datetime) -> datetime:
        """When the maximum demands were last set to zero by a command; the installation when they
        never were."""
        return max(
            (cleared for cleared in self._demand_clears if cleared <= at), default=self.installed
        )

    def remaining(self, which: int) -> Decimal | None:
        """Energy in kWh (1) or money in yuan (2); negative is overdraft, None for a meter that is
        not prepaid so."""
        return self.remaining_kwh if which == 1 else self.remaining_yuan

    def status_words(self, at: datetime) -> list[int]:
        """Running status words 1 to 7."""
        words = [0] * 7
        words[0] = _STATUS_OVERDRAFT * any((self.remaining(which) or 0) < 0 for which in (1, 2))
        words[2] = (
            self.relay.status_bits()
            | self.meter_type << 8
            | _STATUS_PROGRAMMING * self.programming_key
            | _STATUS_AUTHENTICATED * bool(self.security and self.security.is_authenticated)
            | sum(bit for kind, bit in _STATUS_SECOND_SETS.items() if has_switched(self, kind, at))
        )
        return words

    # What happens to it

    def settle(self) -> None:
        """Let happen what was due until now: a delayed trip moves the relay."""
        self._settled()

    def press_button(self) -> None:
        """The customer holds the button of the relay."""
        at = self._settled()
        self._tell(at, "button", {})
        self._relay_operator = _NOBODY
        self.relay.press_button(at)
        self._settled(at)

    def switch(self, *, to_open: bool) -> None:
        """What the write of a relay register does: like a trip, or a close without the customer.
        RelayRefused."""
        at = self._settled()
        self._tell(at, "control", {"action": "trip" if to_open else "close"})
        self._relay_operator = _NOBODY
        if to_open:
            self.relay.trip(at)
        else:
            self.relay.close(at)
        self._settled(at)

    def force_relay(self, *, to_open: bool) -> None:
        """Somebody else moves the relay. RelayRefused when there is none."""
        at = self._settled()
        self._relay_operator = _NOBODY
        self.relay.force(at, to_open=to_open)
        self._settled(at)

    def answer(self, request: Frame) -> Frame | None:
        """The answer, None for silence: not for this meter, a broadcast, or a function that it does
        not know."""
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
                reply = self._change_baud(request, at)
            case functions.CHANGE_PASSWORD:
                reply = self._change_password(request, at)
            case functions.CLEAR_DEMAND | functions.CLEAR_METER | functions.CLEAR_EVENTS:
                reply = self._clear(request, at)
            case functions.WRITE_ADDRESS if self.programming_key and is_address(request.data):
                self.address = request.data[::-1].hex()
                reply = self._reply(request)
            case functions.SECURITY:
                reply = self._carry_to_security_module(request)
            case _:
                return None
        return None if request.address == BROADCAST else reply

    def _is_asked(self, request: Frame) -> bool:
        """Its own address; 99..99 for time and freeze; A in place of any digit, for reads and a new
        address only."""
        if request.address == self.address:
            return True
        if request.address == BROADCAST:
            return request.function in (functions.BROADCAST_TIME, functions.FREEZE)
        return request.function in _WILDCARD_FUNCTIONS and all(
            asked in (_ANY, digit)
            for asked, digit in zip(request.address, self.address, strict=True)
        )

    def _read(self, request: Frame, at: datetime) -> Frame:
        identifier = request.data[:4]
        which = request.data[4:]
        read = (
            partial(load_records.read, which=which)
            if which or identifier[3:] == bytes((load_records.FAMILY,))
            else answers.read
        )
        data = read(self, identifier[::-1], at=at)
        if data is None:
            return self._refuse(request, functions.NO_SUCH_DATA)
        first, rest = data[: self.frame_limit - 4], data[self.frame_limit - 4 :]
        size = self.frame_limit - 5
        self._follow_ups = identifier, [rest[i : i + size] for i in range(0, len(rest), size)]
        return self._reply(request, identifier + first, has_more=bool(rest))

    def _read_follow(self, request: Frame) -> Frame:
        """DI + SEQ: the part with that number of the block that was read last; it may be asked for
        again."""
        identifier, parts = self._follow_ups
        number = request.data[4] if len(request.data) == 5 else 0
        if request.data[:4] != identifier or not 0 < number <= len(parts):
            return self._refuse(request, functions.NO_SUCH_DATA)
        data = identifier + parts[number - 1] + bytes((number,))
        return self._reply(request, data, has_more=number < len(parts))

    def _write(self, request: Frame, at: datetime) -> Frame:
        identifier, operator = request.data[:4][::-1].hex().upper(), request.data[8:12]
        value = self._authorised(request.data[4:])
        if value is None:
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
            elif self.parameters.write(identifier, value, at):
                self._record_programming(at, operator, request.data[:4])
                return self._reply(request)
            else:
                return self._refuse(request, functions.NO_SUCH_DATA)
        except FrameError:
            to = None
        if to is None:
            return self._refuse(request, _OTHER_ERROR)
        self._set_clock(at, to, how="write")
        self.records.add(records.CLOCK_SET, happenings.of_clock_set(shown, to, operator))
        return self._reply(request)

    def _change_baud(self, request: Frame, at: datetime) -> Frame:
        """The word is confirmed and can be read back; the line goes on as it is."""
        if len(request.data) != 1 or request.data[0] not in _BAUD_WORDS:
            return self._refuse(request, _BAUD_CANNOT_CHANGE)
        self.parameters.write(_BAUD_WORD, request.data, at)
        return self._reply(request, request.data)

    def _change_password(self, request: Frame, at: datetime) -> Frame:
        """DI, old and new level and password; the operator's are one, whatever their number."""
        old, new = request.data[4:8], request.data[8:]
        if len(new) != 4 or not self._is_authorised(old):
            return self._refuse(request, _UNAUTHORISED)
        self.level, self.password = new[:1].hex(), new[:0:-1].hex()
        self._record_programming(at, _NOBODY, request.data[:4])
        return self._reply(request, new)

    def _record_programming(self, at: datetime, operator: bytes, identifier: bytes) -> None:
        self.records.add(
            records.PROGRAMMING, happenings.of_programming(self, at, operator, identifier)
        )
        written = identifier[::-1].hex().upper()
        for beginning, kind in records.PROGRAMMED:
            if written.startswith(beginning):
                self.records.add(kind)
                break

    def _clear(self, request: Frame, at: datetime) -> Frame:
        """19, 1A and 1B: level, password, operator, and for 1B what is to be cleared. 1A needs the
        programming key."""
        text = self._authorised(request.data)
        if text is None or (request.function == functions.CLEAR_METER and not self.programming_key):
            return self._refuse(request, _UNAUTHORISED)
        operator = request.data[4:8]
        if request.function == functions.CLEAR_EVENTS:
            cleared, identifier = text[:4], text[:4][::-1].hex().upper()
            if len(cleared) != 4 or not identifier.endswith("FF"):
                return self._refuse(request, _OTHER_ERROR)
            self._clear_events(at, identifier)
            self.records.add(
                records.EVENT_CLEAR, happenings.of_event_clear(self, at, operator, cleared)
            )
        elif request.function == functions.CLEAR_DEMAND:
            self._clear_demand(at, operator)
        else:
            record = happenings.of_meter_clear(self, at, operator)
            self._clear_meter(at)
            self.records.add(records.METER_CLEAR, record)
        return self._reply(request)

    def _clear_events(self, at: datetime, identifier: str = records.ALL) -> None:
        self.records.clear(identifier)
        if records.is_in(records.POWER_FAILURE, identifier):
            self._power_failures_since = at

    def _clear_demand(self, at: datetime, operator: bytes) -> None:
        self.records.add(records.DEMAND_CLEAR, happenings.of_demand_clear(self, at, operator))
        self._demand_clears.append(at)

    def _clear_meter(self, at: datetime) -> None:
        """Energies, demands, freezes and records; the settings stay."""
        self._cleared_mwh = tuple(map(add, self.energy_mwh(at), self._cleared_mwh or repeat(0)))
        self.cleared_at = at
        self._demand_clears.append(at)
        self._clear_events(at)

    def _carry_to_security_module(self, request: Frame) -> Frame:
        """03: DI, operator and what only the module understands; the error word has two bytes."""
        if self.security is None or len(request.data) < HEAD_WIDTH:
            return Frame(self.address, request.function | 0xC0, OTHER_ERROR)
        answer, is_done = self.security.carry(request.data[:4][::-1].hex().upper())
        if not is_done:
            return Frame(self.address, request.function | 0xC0, answer)
        return self._reply(request, request.data[:4] + answer)

    def _control(self, request: Frame, at: datetime) -> Frame:
        """1C: PA P0 P1 P2, operator, N1, N2, and the latest time (by the meter's clock) at which it
        may be done."""
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
        text = self._authorised(data)
        if text is None:
            return _UNAUTHORISED
        if len(text) < _CONTROL_WIDTH or (self.security is None and len(text) > _CONTROL_WIDTH):
            return _OTHER_ERROR
        action, duration = text[0], timedelta(minutes=5 * text[1])
        relay = self.relay
        try:
            expires = decode_time(text[2:_CONTROL_WIDTH], "ss mm hh DD MM YY")
            if expires is None or expires < self.clock.shows(at):
                return _OTHER_ERROR
            self._relay_operator = data[4:8]
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
        """The pattern 99999999 freezes now, another one is the time of the scheduled freeze from
        now on."""
        if can_be_scheduled(request.data):
            self.parameters.write(PATTERN, request.data, at)
            return self._reply(request)
        if request.data != FREEZE_NOW:
            return self._refuse(request, _OTHER_ERROR)
        shown = self.clock.shows(at)
        self.instant_freezes = [*self.instant_freezes[1 - KEPT[INSTANT] :], Freeze(shown, at)]
        self._tell(at, "freeze", {"stamp": shown.isoformat(" ", "seconds")})
        return self._reply(request)

    def _take_broadcast_time(self, data: bytes, at: datetime) -> None:
        """At most 5 minutes, once a day, and not within 5 minutes of midnight; otherwise nothing
        happens."""
        try:
            to = decode_time(data, "ss mm hh DD MM YY")
        except FrameError:
            return
        shown = self.clock.shows(at)
        if (
            to is None
            or shown.date() == self._clock_broadcast_on
            or abs(to - shown) > BROADCAST_TIME_LIMIT
        ):
            return
        margins = (-BROADCAST_TIME_LIMIT, BROADCAST_TIME_LIMIT)
        if any(
            (moment + margin).date() != shown.date() for moment in (shown, to) for margin in margins
        ):
            return
        self._clock_broadcast_on = shown.date()
        self._set_clock(at, to, how="broadcast")

    def _set_clock(self, at: datetime, to: datetime, *, how: str) -> None:
        before = self.clock.shows(at)
        self.clock.set(at, to)
        self._tell(
            at,
            "clock",
            {
                "how": how,
                "from": before.isoformat(" "),
                "to": to.isoformat(" "),
            },
        )

    def _authorised(self, data: bytes) -> bytes | None:
        """What stands behind PA P0 P1 P2 C0 C1 C2 C3, None when they do not open this meter."""
        if self.security is not None:
            return self.security.opens(data)
        return (
            data[HEAD_WIDTH:] if len(data) >= HEAD_WIDTH and self._is_authorised(data[:4]) else None
        )

    def _is_authorised(self, secret: bytes) -> bool:
        return secret == bytes.fromhex(self.level) + bytes.fromhex(self.password)[::-1]

    def _settled(self, at: datetime | None = None) -> datetime:
        """Now, after everything that was due has happened and the energy that did not flow is
        known."""
        at = at or self.now()
        relay = self.relay
        relay.settle(at)
        for moved, to_open in relay.moves[self._moves_seen :]:
            self._lost_mwh.append(self._lost_until(moved))
            record = happenings.of_relay(self, moved, self._relay_operator)
            self.records.add(records.TRIP if to_open else records.CLOSE, record)
            self._tell(moved, "relay", {"state": "open" if to_open else "closed"})
        self._moves_seen = len(relay.moves)
        return at

    def _at_install(self, initial_mwh: int) -> tuple[int, ...]:
        """What to add to the curve so that it shows the initial register on the day of the
        installation."""
        curve = self.curve.energy_mwh(self.installed, self.tariffs)
        shares = (rate[24] for rate in self.curve.shape.used_before_hour)
        whole = self.curve.shape.used_before_hour[0][24]
        return tuple(
            initial_mwh * share // whole - energy
            for share, energy in zip(shares, curve, strict=False)
        )

    def _lost_until(self, at: datetime) -> tuple[int, ...]:
        """What the curve would have used while the relay was open, up to a true time."""
        moves = self.relay.moves
        known = bisect_right(
            moves,
            at,
            key=lambda move: move[0],
            hi=min(len(moves), len(self._lost_mwh) - 1),
        )
        lost = self._lost_mwh[known]
        if not known or not moves[known - 1][1]:
            return lost
        since = self.curve.energy_mwh(moves[known - 1][0], self.tariffs)
        until = self.curve.energy_mwh(at, self.tariffs)
        return tuple(
            before + end - begin for before, end, begin in zip(lost, until, since, strict=True)
        )

    def _skips(self, stamp: datetime) -> bool:
        """The meter was without power at this midnight."""
        if self._skipped_freeze_permille and happens(
            self._key, stamp.toordinal(), self._skipped_freeze_permille
        ):
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


def is_address(data: bytes) -> bool:
    """True for six bytes of BCD that are not the broadcast."""
    return len(data) == 6 and data.hex().isdigit() and data.hex() != BROADCAST
