"""Simulated meters behind a line that loses, delays, doubles and reorders what it carries.

The relay is that of the simulators: ordered and moved are two things there too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from random import Random
from typing import Final
from uuid import UUID

from daemon.acquisition.meter_port import Action
from daemon.control.sources import FarEnd
from daemon.quality.freeze import CLOCK_LIMIT
from protocols.dlt645.functions import UNAUTHORISED
from protocols.errors import LineDown, MeterRefused, NoReply
from protocols.peer import Peer, Proof
from protocols.reading import RelayState
from simulators.state.relay import Relay, RelayRefused
from tests.simulation.control.kernel import Kernel, Pause

TIMEOUT_S: Final = 3.0
LATE_S: Final = (4.0, 90.0, 840.0)
"""A frame that is late arrives within so long: before its relay is looked at, when its customer is
back, or when it is past its expiry."""


@dataclass(eq=False)
class Line:
    """What carries frames. `peer`: who is at its far end now; None: what the files name."""

    name: str
    is_down: bool = False
    lost: float = 0.0
    late: float = 0.0
    doubled: float = 0.0
    peer: Peer = field(default_factory=lambda: Peer("gate", Proof.NAMED))
    question: str = ""
    bad_at_s: float = -1e9
    """When it carried badly last: who waits behind it may."""

    @property
    def far_end(self) -> FarEnd | None:
        """Who would get a command."""
        return FarEnd(self.peer, self.question)

    @property
    def is_calm(self) -> bool:
        """All that it gets arrives once and at once."""
        return not (self.is_down or self.lost or self.late or self.doubled or self.question)


@dataclass(eq=False)
class Meter:
    """A meter with its relay. `ahead`: by how much its clock is wrong."""

    point: int
    line: Line
    relay: Relay
    ahead: timedelta = timedelta(0)
    is_powered: bool = True
    refuses: bool = False
    """As with a wrong password: every control frame."""
    bad_at_s: float = -1e9
    was_refused_s: float = -1e9
    told: list[RelayState] = field(default_factory=list)
    """The last states that somebody was told."""

    @property
    def is_lit(self) -> bool:
        """Whether the customer has supply, as far as the relay goes."""
        return not self.relay.is_open

    @property
    def is_calm(self) -> bool:
        """It does what it is told, at once."""
        good_clock = abs(self.ahead) <= timedelta(minutes=4)
        is_well = self.is_powered and not self.refuses and not self.relay.is_stuck
        return is_well and good_clock and not self.relay.trip_delay

    def obey(self, action: Action, expires: datetime, local_now: datetime) -> None:
        """What it makes of a control frame that arrives. MeterRefused."""
        self.relay.settle(local_now)
        if self.refuses:
            raise MeterRefused(str(self.point), action, 4, (UNAUTHORISED,))
        # The expiry in the frame is by the meter's own clock.
        if local_now + self.ahead > expires:
            raise MeterRefused(str(self.point), action, 1, ("expired",))
        try:
            if action == "trip":
                self.relay.trip(local_now)
            elif action == "allow_close":
                self.relay.allow_close(local_now)
            else:
                self.relay.close(local_now)
        except RelayRefused as refusal:
            raise MeterRefused(str(self.point), action, 1, ("other_error",)) from refusal


@dataclass(eq=False)
class Port:
    """A `MeterPort` of one meter, as far as control goes.

    `leaves`: called when a control frame leaves the process, with its action, and for how long it is
    valid."""

    meter: Meter
    kernel: Kernel
    chance: Random
    local_now: Callable[[], datetime]
    leaves: Callable[[Meter, Action, timedelta], None]
    told_ahead: timedelta = timedelta(0)
    """By how much its clock was wrong when it told it last."""
    was_ahead: tuple[date, timedelta] | None = None
    """By how much its clock was wrong when somebody first wanted to know it that day."""

    obstacle = ""
    behind = timedelta(0)
    is_away = False

    @property
    def clock_as_known(self) -> datetime | None:
        """As a freeze of that day showed it: it may have been set since."""
        now = self.local_now()
        if self.was_ahead is None or self.was_ahead[0] != now.date():
            self.was_ahead = (now.date(), self.meter.ahead)
        _, ahead = self.was_ahead
        return None if abs(ahead) > CLOCK_LIMIT else now + ahead

    def unsupported(self, what: str) -> str:
        """It can all that control needs."""
        return ""

    async def read_clock(self) -> datetime:
        """Its wall clock."""
        await self._carry()
        self.told_ahead = self.meter.ahead
        return self.local_now() + self.told_ahead

    async def read_relay(self) -> RelayState:
        """As status word 3 has it."""
        await self._carry()
        relay = self.meter.relay
        relay.settle(self.local_now())
        state = RelayState(relay.is_open, relay.command_open, relay.keeps_power)
        self.meter.told = [*self.meter.told[-3:], state]
        await self._carry_back()
        return state

    async def sign(
        self, action: Action, meter_clock: datetime, valid_for: timedelta
    ) -> bytes | None:
        """Its password is known."""
        return None

    async def control(
        self,
        action: Action,
        send_id: UUID,
        meter_clock: datetime,
        valid_for: timedelta,
        signed: bytes | None,
    ) -> str:
        """Its frame, once; on the way it may be lost, late or doubled."""
        meter, line = self.meter, self.meter.line
        expires = meter_clock + valid_for
        self._refuse_if_down()
        # By the meter's clock as it told it: what came since takes from the time that is left.
        self.leaves(meter, action, expires - self.told_ahead - self.local_now())
        late = self.chance.random() < line.late
        if late or self.chance.random() < line.doubled:
            late_s = self.chance.uniform(1, self.chance.choice(LATE_S))
            self.kernel.at_s(late_s, lambda: self._arrive(action, expires))
        if late:
            await self._silence()
        await self._carry()
        try:
            meter.obey(action, expires, self.local_now())
        except MeterRefused:
            meter.was_refused_s = self.kernel.now_s
            raise
        await self._carry_back()
        return "done"

    def _arrive(self, action: Action, expires: datetime) -> None:
        if not self.meter.is_powered:
            return
        try:
            self.meter.obey(action, expires, self.local_now())
        except MeterRefused:
            return  # nobody hears it
        # Whoever is back is dark again, for no fault of the daemon.
        self.meter.bad_at_s = self.kernel.now_s

    async def _carry(self) -> None:
        self._refuse_if_down()
        await Pause(self.chance.uniform(0.02, 0.4))
        self._refuse_if_down()
        if not self.meter.is_powered or self.chance.random() < self.meter.line.lost:
            await self._silence()

    async def _carry_back(self) -> None:
        await Pause(self.chance.uniform(0.02, 0.4))
        self._refuse_if_down()
        if self.chance.random() < self.meter.line.lost:
            await self._silence()

    async def _silence(self) -> None:
        await Pause(TIMEOUT_S)
        self._refuse_if_down()
        raise NoReply(f"meter {self.meter.point} is silent")

    def _refuse_if_down(self) -> None:
        if self.meter.line.is_down:
            raise LineDown(f"line {self.meter.line.name} is gone")
