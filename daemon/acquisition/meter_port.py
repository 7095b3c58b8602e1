"""What a line of any kind does with one meter, whatever its carrier."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from daemon.acquisition.planning.reads import What
from daemon.quality.arrival import SettingsRead
from protocols.dlt645.exchanges import FreezeMoved
from protocols.errors import FrameError, MeterdError, MeterRefused
from protocols.reading import MeterIdentity, RelayState

Registers = tuple[Decimal | None, ...]
"""Total, tariff 1, tariff 2, ... in kWh; None where the meter has no data."""
Action = Literal["trip", "allow_close", "close"]
MeterAction = Literal["keep_power", "end_keep_power", "alarm", "end_alarm"]
"""What moves no relay; only meters of DL/T 645-2007 are asked for it."""


class Urgency(IntEnum):
    """Why a meter is read or controlled, most urgent first."""

    COMMAND = 0
    MIDNIGHT = 1
    REQUEST = 2
    SLOT = 3


class InstantRegisters(NamedTuple):
    """The registers of this moment.

    `device_time`: by the device's clock, as the site's wall clock, and `at`, the same as an
    instant; None where the answer holds none, and they are of the moment of their arrival."""

    registers: Registers
    device_time: datetime | None = None
    at: datetime | None = None


class NotSent(MeterdError):
    """The request or command never left: its carrier refused it, and the meter knows nothing of it.

    The carrier's operator acts."""


class GatewayAnswered(MeterdError):
    """A gateway answered for the meter that it has no value, or why it does nothing.

    `outcome`: no_data, refused, expired, or another one that is of no use here.
    """

    def __init__(self, outcome: str, reason: str) -> None:
        self.outcome = outcome
        super().__init__(reason)


class NoFreeze(MeterdError):
    """The meter answered, and what it has is not the freeze of that day.

    `cause`: it has none, it is stamped otherwise, or its clock is wrong by half a day."""

    def __init__(
        self, cause: Literal["no_freeze", "wrong_stamp", "meter_clock"], reason: str
    ) -> None:
        self.cause: Final = cause
        super().__init__(reason)


UNUSABLE = (MeterRefused, GatewayAnswered, FrameError, FreezeMoved)
"""The meter, or its gateway, answered, and with nothing that can be used."""


class MeterPort(Protocol):
    """One meter that can be read and controlled now.

    Each read raises NoReply, NotSent or one of UNUSABLE when it fails, LineDown when the carrier is
    gone, and Preempted when it gave way to something more urgent.
    """

    @property
    def obstacle(self) -> str:
        """Why a command would be kept on its way and executed some day; empty when it would not."""

    @property
    def behind(self) -> timedelta:
        """By how much its clock is behind the site's when it is right: it keeps standard time."""

    @property
    def clock_as_known(self) -> datetime | None:
        """What its clock shows now if it goes as it did when it was read today; None when it was
        not read today, or is wrong."""

    @property
    def is_away(self) -> bool:
        """True while this meter is known to be unreachable."""

    def unsupported(self, what: What | Literal["control", "identity"]) -> str:
        """Why this meter can never do that; empty when it can.

        `control` includes reading the relay back."""

    async def read_freeze(self, day: date) -> Registers:
        """The freeze stamped with this day, NoFreeze if the meter has none.

        It is submitted, and so is each other one that comes by and is wanted."""

    async def read_registers(self) -> InstantRegisters:
        """The registers of this moment."""

    async def read_doubts(self) -> list[str]:
        """Read what the meter measures; what of it cannot be meant, in words."""

    async def read_clock(self) -> datetime:
        """The meter's wall clock."""

    async def read_relay(self) -> RelayState:
        """Where the relay is, and where it is ordered to be."""

    async def read_identity(self) -> MeterIdentity:
        """Which meter it is."""

    async def read_settings(self) -> SettingsRead:
        """What is set in the meter and what it settled, as far as it tells that."""

    async def sign(
        self, action: Action, meter_clock: datetime, valid_for: timedelta
    ) -> bytes | None:
        """What another than us makes for the control frame to carry; None where a password does.

        NotSent: it does not."""

    async def control(
        self,
        action: Action,
        send_id: UUID,
        meter_clock: datetime,
        valid_for: timedelta,
        signed: bytes | None,
    ) -> str:
        """Send one control frame, once; the answer in words, for the record.

        `send_id` differs from send to send. `meter_clock`: what the meter's clock shows now;
        `valid_for`: after this time the command must not be executed any more. `signed`: what
        `sign` returned."""


MeterPorts = Callable[[int, Urgency], MeterPort]
"""(number of a meter on its line, what for)."""
