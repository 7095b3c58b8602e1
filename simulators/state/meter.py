"""The state of a simulated meter: what is true of it at any time, and what happens to it.

No frame, no I/O, no task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice, takewhile
from typing import Final, NamedTuple

from simulators.state.clock import MeterClock
from simulators.state.counter import Energies, EnergyCounter
from simulators.state.load import MWH_PER_KWH, LoadCurve
from simulators.state.parameters import Parameters
from simulators.state.records import Records
from simulators.state.relay import Move, Relay
from simulators.state.seeded import series
from simulators.state.spec import MeterSpec

EVENTS_KEPT: Final = 1000
DAILY_FREEZES_KEPT: Final = 62
USUAL_MWH_PER_DAY: Final = 8 * MWH_PER_KWH
SERIALS: Final = 10**9
"""So many serials fit into two registers of a Modbus meter."""
NO_OPERATOR: Final = bytes(4)
"""The operator of what was done without a command."""


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """An event in the life of a meter at true site time `at`.

    Its kind is control, relay, button, clock, freeze or exchange, or bench for what was done to it
    from outside."""

    at: datetime
    address: str
    kind: str
    detail: dict[str, str]


@dataclass(frozen=True, slots=True)
class Freeze:
    """One freeze: `stamp` is its time by the meter's clock, `at` the true site time of it."""

    stamp: datetime
    at: datetime


class Demand(NamedTuple):
    """Thousandths of a watt, and the true end of the period; None when there was none above 0."""

    mw: int
    ended: datetime | None


DemandKey = tuple[datetime, timedelta, timedelta]


def _ignore_move(move: Move) -> None:
    """A meter that records no movement of its relay."""


class MeterState:
    """One meter. Every time in here is site time: a wall clock without zone that never goes back.

    `now` gives the true one; what the meter shows is `clock`. `journal` hears of every event."""

    def __init__(
        self,
        address: str,
        *,
        now: Callable[[], datetime],
        spec: MeterSpec | None = None,
        clock: MeterClock | None = None,
        relay: Relay | None = None,
        journal: Callable[[MeterEvent], None] | None = None,
    ) -> None:
        self.address = address
        self.now = now
        self.spec = spec or MeterSpec()
        self.serial = self.spec.serial or _usual_serial(address)
        """Of the meter that is behind the address now."""
        self.relay = relay or Relay()
        installed_at = self.spec.installed_at
        self.clock = clock or MeterClock(installed_at, installed_at)
        curve = self.spec.curve or LoadCurve(USUAL_MWH_PER_DAY, key=series(address))
        self.counter = EnergyCounter(curve, self.spec, self.relay)
        self.parameters = Parameters()
        self.records = Records()
        self.instant_freezes: list[Freeze] = []
        """Oldest first."""
        self.daily_demands: dict[DemandKey, list[Demand]] = {}
        """By day, demand period and slide: what is known of days that are over."""
        self.events: deque[MeterEvent] = deque(maxlen=EVENTS_KEPT)
        self.on_relay_moved: Callable[[Move], None] = _ignore_move
        """Set by a meter that keeps event records: called for each movement, when it is counted."""
        self.relay_operator = NO_OPERATOR
        """Whose command the relay follows, four bytes as they came."""
        self.has_power = True
        """Without it the meter hears nothing, freezes nothing and its customer is dark."""
        self._journal = journal
        self._demand_clears: list[datetime] = []
        self._outages: list[tuple[datetime, datetime]] = []
        """True times between which it had no power; the last one ends in the far future."""

    # What is true

    def true_register(self, at: datetime) -> Decimal:
        """The forward active total in kWh, as the display shows it.

        At any true site time up to now."""
        self.settle()
        return self.registers_kwh(at)[0]

    def registers(self, at: datetime) -> tuple[int, ...]:
        """Total and each tariff at a true site time, in whole 0.01 kWh.

        Truncated as a display does."""
        return self.counter.registers(at)

    def registers_kwh(self, at: datetime) -> list[Decimal]:
        """Likewise, in kWh."""
        return [Decimal(register).scaleb(-2) for register in self.registers(at)]

    def energy_mwh(self, at: datetime) -> Energies:
        """Total and each tariff at a true site time, in thousandths of a watt-hour."""
        return self.counter.energy_mwh(at)

    def power_mw(self, at: datetime) -> int:
        """Active power in thousandths of a watt, at any true site time up to now."""
        return self.counter.power_mw(at)

    def daily_freezes(self, at: datetime) -> Iterator[Freeze]:
        """The freezes of its own midnights that it remembers at a true site time, newest first."""
        frozen = (freeze for freeze in self._midnights(at) if not self._is_outage(freeze))
        return islice(self.not_cleared(frozen), DAILY_FREEZES_KEPT)

    def midnights_without_power(self, at: datetime) -> Iterator[Freeze]:
        """Its own midnights that it could not freeze, newest first.

        Since the records of power failures were cleared."""
        if not (self.spec.outages or self._outages):
            return iter(())
        since = self.records.power_failures_since
        missed = filter(self._is_outage, self._midnights(at))
        return takewhile(lambda freeze: freeze.at > since, missed)

    def not_cleared(self, freezes: Iterator[Freeze]) -> Iterator[Freeze]:
        """Those since the last meter clear, of freezes that come newest first."""
        cleared_at = self.counter.cleared_at
        return takewhile(lambda freeze: freeze.at > cleared_at, freezes)

    def demand_cleared_until(self, at: datetime) -> datetime:
        """When the maximum demands were last set to zero by a command.

        The installation when they never were."""
        until = (cleared for cleared in self._demand_clears if cleared <= at)
        return max(until, default=self.spec.installed_at)

    # What happens to it

    def settle(self, at: datetime | None = None) -> datetime:
        """Let happen what was due until now: a delayed trip moves the relay. Returns now."""
        at = at or self.now()
        self.relay.settle(at)
        # A delayed trip moved the relay at its own time, which may be long ago.
        for move in self.counter.count_moves():
            self.on_relay_moved(move)
            state = "open" if move.to_open else "closed"
            self.note(move.at, "relay", {"state": state})
        return at

    def press_button(self) -> None:
        """The customer holds the button of the relay."""
        at = self.settle()
        self.note(at, "button", {})
        self.relay_operator = NO_OPERATOR
        self.relay.press_button(at)
        self.settle(at)

    def switch(self, *, to_open: bool) -> None:
        """What the write of a relay register does: like a trip, or a close without the customer.

        RelayRefused."""
        at = self.settle()
        self.note(
            at,
            "control",
            {"action": "trip" if to_open else "close"},
        )
        self.relay_operator = NO_OPERATOR
        if to_open:
            self.relay.trip(at)
        else:
            self.relay.close(at)
        self.settle(at)

    def force_relay(self, *, to_open: bool) -> None:
        """Another tool moves the relay. RelayRefused when there is none."""
        at = self.settle()
        self.relay_operator = NO_OPERATOR
        self.relay.force(at, to_open=to_open)
        self.settle(at)

    def set_clock(
        self,
        at: datetime,
        to: datetime,
        *,
        how: str,
    ) -> None:
        """From the true time `at` on the meter shows `to`; `how` is for the journal."""
        before = self.clock.shows(at)
        self.clock.set(at, to)
        detail = {
            "how": how,
            "from": before.isoformat(" "),
            "to": to.isoformat(" "),
        }
        self.note(at, "clock", detail)

    def set_drift(self, at: datetime, drift_us_per_day: int) -> None:
        """From the true time `at` on its clock gains so much a day, and jumps nowhere."""
        self.clock.set(at, self.clock.shows(at), drift_us_per_day=drift_us_per_day)

    def switch_power(self, *, is_on: bool) -> None:
        """Its own supply, not the relay: the fuse before it, or the whole street."""
        at = self.settle()
        if is_on == self.has_power:
            return
        self.has_power = is_on
        self.counter.power(at, is_on=is_on)
        if is_on:
            begin, _ = self._outages.pop()
            self._outages.append((begin, at))
        else:
            self._outages.append((at, datetime.max))  # noqa: DTZ901

    def freeze_now(self, at: datetime, kept: int) -> None:
        """One more instant freeze, of which the newest `kept` are remembered."""
        shown = self.clock.shows(at)
        self.instant_freezes.append(Freeze(shown, at))
        del self.instant_freezes[:-kept]
        self.note(
            at,
            "freeze",
            {"stamp": shown.isoformat(" ", "seconds")},
        )

    def clear_demand(self, at: datetime) -> None:
        """The maximum demands begin anew; those of past settlements stay."""
        self._demand_clears.append(at)

    def clear(self, at: datetime) -> None:
        """Energies, demands, freezes and records begin anew; the settings stay."""
        self.counter.clear(at)
        self.clear_demand(at)
        self.records.clear(at)

    def exchange(self, serial: str, initial_kwh: Decimal) -> None:
        """Another meter takes its place behind the same address, with its relay closed.

        What the old one remembered went with it."""
        at = self.settle()
        if self.relay.is_open:
            self.force_relay(to_open=False)
        self.serial = serial
        self.counter.clear(at, initial_kwh)
        self.clear_demand(at)
        self.records = Records()
        self.instant_freezes.clear()
        self.note(
            at,
            "exchange",
            {"serial": serial, "initial_kwh": str(initial_kwh)},
        )

    def note(
        self,
        at: datetime,
        kind: str,
        detail: dict[str, str],
    ) -> None:
        """One more event."""
        event = MeterEvent(
            at,
            self.address,
            kind,
            detail,
        )
        self.events.append(event)
        if self._journal:
            self._journal(event)

    def _midnights(self, at: datetime) -> Iterator[Freeze]:
        for moment in self.clock.midnights(at):
            yield Freeze(moment.stamp, self.clock.true_time(moment))

    def _is_outage(self, freeze: Freeze) -> bool:
        if any(begin < freeze.at <= end for begin, end in self._outages):
            return True
        return self.spec.outages.include(freeze.stamp)


def _usual_serial(address: str) -> str:
    """That of a meter whose address was never changed; a Modbus unit has no digits of its own."""
    return address if address.isdigit() else f"{series(address) % SERIALS:012d}"
