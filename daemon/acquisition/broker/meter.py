"""One meter behind a gateway, read and controlled through the broker as its family does it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Literal
from uuid import UUID

from daemon.acquisition.broker.presence import Presence
from daemon.acquisition.broker.requests import BrokerRequests, new_token
from daemon.acquisition.meter_port import (
    Action,
    GatewayAnswered,
    InstantRegisters,
    NotSent,
    Registers,
)
from daemon.acquisition.planning.reads import What
from daemon.acquisition.site_clock import SiteClock
from daemon.quality.arrival import SettingsRead
from daemon.quality.freeze import freeze_day
from protocols.channels.mqtt.connection import MqttConnection, PublishRefused
from protocols.errors import NoReply
from protocols.mqtt.events import (
    Answered,
    Event,
    Family,
    FreezeReport,
    IdentityReport,
    Outgoing,
    RegisterReport,
    RelayReport,
)
from protocols.reading import MeterIdentity, RelayState
from storage.archive import SiteMeter

NO_VALUE = "the gateway has no value of that day"


@dataclass(frozen=True, slots=True)
class BrokerMeter:
    """See MeterPort. It lives as long as one job of its line."""

    meter: SiteMeter
    device: str
    """What its family calls it."""
    connection: MqttConnection
    family: Family
    requests: BrokerRequests
    presence: Presence
    clock: SiteClock
    has_relay: bool

    @property
    def obstacle(self) -> str:
        """See MeterPort. A broker or a gateway may keep a command for a device that is away."""
        is_open = self.presence.is_reachable(self.device)
        return "" if is_open else "the gateway or the device is offline"

    @property
    def behind(self) -> timedelta:
        """See MeterPort. Its clock cannot be read."""
        return timedelta()

    @property
    def clock_as_known(self) -> datetime | None:
        """See MeterPort."""
        return None

    @property
    def is_away(self) -> bool:
        """See MeterPort."""
        return self.device in self.presence.away

    def unsupported(self, what: What | Literal["control", "identity"]) -> str:
        """See MeterPort."""
        family = self.family
        match what:
            case "control":
                return self._why_not_controlled()
            case "freeze":
                is_read = family.read_freeze is not None
            case "registers":
                is_read = family.read_registers is not None
            case "relay":
                is_read = family.read_relay is not None and self.has_relay
            case "identity":
                is_read = family.read_identity is not None
            case "clock":
                is_read = False
        return "" if is_read else f"no {what} can be asked for here"

    def _why_not_controlled(self) -> str:
        if not self.has_relay:
            return "the archive says that the meter has no relay"
        if self.family.control is None or self.family.read_relay is None:
            return "there is no relay that can be controlled and read back"
        return ""

    async def read_freeze(self, day: date) -> Registers:
        """See MeterPort. The answer is submitted where each message is."""
        assert self.family.read_freeze, "a meter without memory was asked for its past"
        request = self.family.read_freeze(
            self.device,
            day,
            new_token(),
            self._expiry(),
        )
        what = f"for the freeze of {self.meter.address} of {day}"
        report = await self._ask(request, what, FreezeReport)
        if not isinstance(report, FreezeReport) or freeze_day(report.frozen_at) != day:
            raise GatewayAnswered("no_data", NO_VALUE)
        return self._registers(report)

    async def read_registers(self) -> InstantRegisters:
        """See MeterPort."""
        assert self.family.read_registers, "asked for registers that cannot be read"
        request = self.family.read_registers(self.device, new_token(), self._expiry())
        what = f"for the registers of {self.meter.address}"
        report = await self._ask(request, what, RegisterReport)
        assert isinstance(report, RegisterReport)
        registers = self._registers(report)
        # A wall clock may be of another zone and matters little in an answer; an instant shows how
        # old the value is.
        device_time = report.device_time
        if device_time is None or device_time.tzinfo is None:
            return InstantRegisters(registers)
        local_time = self.clock.as_local(device_time)
        return InstantRegisters(registers, local_time, device_time)

    async def read_doubts(self) -> list[str]:
        """See MeterPort. Messages name what they tell."""
        await self.read_registers()
        return []

    async def read_clock(self) -> datetime:
        """See MeterPort."""
        raise AssertionError("a gateway was asked for the clock of a meter")

    async def read_relay(self) -> RelayState:
        """See MeterPort."""
        assert self.family.read_relay, "asked for a relay that cannot be read"
        request = self.family.read_relay(self.device, new_token(), self._expiry())
        report = await self._ask(request, f"for the relay of {self.meter.address}", RelayReport)
        assert isinstance(report, RelayReport)
        is_ordered_open = report.command_open
        # A device that does not know its last command was ordered to be as it is.
        if is_ordered_open is None:
            is_ordered_open = report.is_open
        return RelayState(report.is_open, is_ordered_open, report.keep_power)

    async def read_identity(self) -> MeterIdentity:
        """See MeterPort."""
        assert self.family.read_identity, "asked for a number that cannot be read"
        request = self.family.read_identity(self.device, new_token(), self._expiry())
        what = f"which meter {self.meter.address} is"
        report = await self._ask(request, what, IdentityReport)
        assert isinstance(report, IdentityReport)
        return MeterIdentity(report.serial, report.prepayment)

    async def read_settings(self) -> SettingsRead:
        """See MeterPort. No family tells it."""
        return SettingsRead()

    async def sign(
        self, action: Action, meter_clock: datetime, valid_for: timedelta
    ) -> bytes | None:
        """See MeterPort. A gateway has keys of its own."""
        return None

    async def control(
        self,
        action: Action,
        send_id: UUID,
        meter_clock: datetime,
        valid_for: timedelta,
        signed: bytes | None,
    ) -> str:
        """See MeterPort. Accepted does not mean that the relay moved."""
        assert self.family.control, "a meter without relay was to be controlled"
        # A gateway has a clock of its own: an instant, not the meter's wall clock.
        expires = self.clock.now() + valid_for
        command = self.family.control(
            self.device,
            action,
            send_id,
            new_token(),
            expires,
        )
        try:
            await self._ask(command, f"{action} of {self.meter.address}", RelayReport)
        except GatewayAnswered as answer:
            if answer.outcome not in ("ok", "accepted"):
                raise
        return "accepted by the gateway"

    async def _ask(
        self,
        outgoing: Outgoing,
        what: str,
        kind: type[Event],
    ) -> Event:
        try:
            event = await self.requests.ask(
                self.connection,
                self.device,
                outgoing,
                what,
                kind,
            )
        except PublishRefused as error:
            raise NotSent(str(error)) from error
        if isinstance(event, Answered):
            if event.outcome == "no_reply":
                raise NoReply(event.reason)
            raise GatewayAnswered(event.outcome, event.reason)
        return event

    def _registers(self, report: FreezeReport | RegisterReport) -> Registers:
        if report.registers[0] is None:
            raise GatewayAnswered("no_data", NO_VALUE)
        return cut_off(report.registers, self.meter.decimals)

    def _expiry(self) -> datetime:
        # Later than we wait for it, an answer would be of no use.
        lifetime = timedelta(seconds=self.requests.reply_timeout_s)
        return self.clock.now() + lifetime


def cut_off(registers: Iterable[Decimal | None], decimals: int) -> Registers:
    """As a display shows them: further digits are cut off, never rounded up."""
    step = Decimal(1).scaleb(-decimals)
    return tuple(None if kwh is None else kwh.quantize(step, ROUND_DOWN) for kwh in registers)
