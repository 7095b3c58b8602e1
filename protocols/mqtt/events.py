"""What every family of MQTT devices reports and is asked, in one set of words. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal, Protocol
from uuid import UUID

from msgspec import Struct

from protocols.reading import PrepaymentMode, Quantity

Action = Literal["trip", "allow_close", "close"]
Outcome = Literal["ok", "accepted", "no_data", "no_reply", "refused", "expired"]
"""How a request or a command ended at the device. `accepted`: the command was taken; the relay may
not have moved."""


class FreezeReport(Struct, frozen=True, gc=False):
    """A daily freeze.

    `frozen_at`: the meter's wall clock without zone. `registers`: total, tariff 1, ... in kWh.
    `clock_skew`: meter clock minus the gateway's when it read the meter. `token`: set in the answer
    to a request. `serial`: of the meter that froze it, where the message tells it.
    """

    device: str
    frozen_at: datetime
    registers: tuple[Decimal | None, ...]
    clock_skew: timedelta | None = None
    token: str | None = None
    serial: str | None = None


class RegisterReport(Struct, frozen=True):
    """What a device measures at this moment.

    `registers`: total, tariff 1, ... in kWh. `values`: in their own units. `device_time`: the
    device's own time, aware when it sent a zone, else its wall clock; None when it sent none.
    """

    device: str
    registers: tuple[Decimal | None, ...]
    values: Mapping[Quantity, Decimal | None] = {}
    device_time: datetime | None = None
    token: str | None = None


class RelayReport(Struct, frozen=True):
    """Where the relay is; `command_open` is None when the device does not know its last command."""

    device: str
    is_open: bool
    command_open: bool | None = None
    keep_power: bool = False
    token: str | None = None


class IdentityReport(Struct, frozen=True):
    """Which meter it is: `serial` None where it has no number of its own.

    `prepayment`: None where the family does not tell it."""

    device: str
    serial: str | None
    prepayment: PrepaymentMode | None = None
    token: str | None = None


class PresenceReport(Struct, frozen=True):
    """A device, or the whole gateway (`device` None), came or went.

    A last will says it for one that cannot.
    """

    device: str | None
    is_online: bool


class Answered(Struct, frozen=True):
    """How the request or command with this token ended, where that is all that is reported."""

    device: str
    token: str
    outcome: Outcome
    reason: str = ""


class Echoed(Struct, frozen=True):
    """Our own self-test came back."""

    token: str


Event = (
    FreezeReport
    | RegisterReport
    | RelayReport
    | IdentityReport
    | PresenceReport
    | Answered
    | Echoed
)


class Outgoing(Struct, frozen=True):
    """A message to a device.

    `token` is what the answer will carry. `qos` 0 where a queued one would do harm later.
    """

    topic: str
    payload: bytes
    token: str
    qos: Literal[0, 1] = 1


class Family(Protocol):
    """One way to speak MQTT. Requests that a family cannot send are None."""

    @property
    def subscriptions(self) -> Sequence[str]:
        """Topic filters, in the order in which they are subscribed."""

    @property
    def read_freeze(self) -> Callable[[str, date, str, datetime], Outgoing] | None:
        """(device, day, token, expiry): the freeze of a past day; None when none is kept."""

    @property
    def read_registers(self) -> Callable[[str, str, datetime], Outgoing] | None:
        """(device, token, expiry): the registers of this moment."""

    @property
    def read_relay(self) -> Callable[[str, str, datetime], Outgoing] | None:
        """(device, token, expiry): where the relay is."""

    @property
    def read_identity(self) -> Callable[[str, str, datetime], Outgoing] | None:
        """(device, token, expiry): which meter it is."""

    @property
    def control(self) -> Callable[[str, Action, UUID, str, datetime], Outgoing] | None:
        """(device, action, command id, token, expiry): move the relay."""

    @property
    def echo(self) -> Callable[[str], Outgoing] | None:
        """(token): a message to ourselves through our own subscription."""

    def presence(self, *, is_online: bool) -> Outgoing | None:
        """Our own presence, retained; `is_online=False` is also our last will."""

    def events(self, topic: str, payload: bytes) -> list[Event]:
        """What a message reports; [] for one that is not for us.

        FrameError says what is wrong with it and where.
        """

    def is_control(self, topic: str, payload: bytes) -> bool:
        """True for a message that can move a relay."""
