"""One meter on a wire, read in its own protocol through the conversations of its line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID

import structlog

from daemon.acquisition.clocks import (
    GOOD_CLOCK,
    MIDNIGHT_MARGIN,
    MeterClocks,
    is_near_midnight,
)
from daemon.acquisition.conversations import Conversations, giving_way
from daemon.acquisition.driver import Driver
from daemon.acquisition.freezes import FreezeIndexes, FreezeSearch
from daemon.acquisition.half_read import HalfRead
from daemon.acquisition.meter_port import (
    Action,
    InstantRegisters,
    MeterAction,
    NoFreeze,
    NotSent,
    Registers,
)
from daemon.acquisition.planning.reads import What
from daemon.quality.arrival import MonthEndFreeze, SettingsRead
from daemon.quality.freeze import CLOCK_LIMIT, freeze_day, is_astray
from daemon.quality.month_end import settled_at
from protocols.dlt645.exchanges import FrozenRegisters, RelayAction
from protocols.dlt645.functions import CONTROL, SECURITY
from protocols.dlt645.writing import send_opaque
from protocols.errors import FrameError, MeterRefused, NoReply, SecretWithheld
from protocols.exchange import Exchange
from protocols.reading import MeterIdentity, RelayState
from storage.archive import SiteMeter

T = TypeVar("T")
log = structlog.get_logger("line")


@dataclass(frozen=True, slots=True)
class WireMeter:
    """See MeterPort. It lives as long as one job of its line."""

    number: int
    meter: SiteMeter
    driver: Driver
    conversations: Conversations
    clocks: MeterClocks
    freezes: FreezeIndexes
    local_now: Callable[[], datetime]
    submit: Callable[[int, FrozenRegisters, timedelta | None, bool], Awaitable[None]]
    """(number, freeze, skew of the clock that stamped it, whether it is the one asked for)."""
    give_way: Callable[[], None] | None = None
    """Called between two exchanges; raises Preempted when something more urgent came."""
    half_read: HalfRead | None = None
    """What the same job asked before its channel was lost; None where all is asked now."""
    retries: int | None = None

    @property
    def obstacle(self) -> str:
        """See MeterPort. A wire keeps nothing that it was given."""
        return ""

    @property
    def behind(self) -> timedelta:
        """See MeterPort."""
        return self.clocks.behind(self.number)

    @property
    def clock_as_known(self) -> datetime | None:
        """See MeterPort."""
        skew = self.clocks.skew(self.number)
        is_of_today = self.clocks.read_on[self.number] == self._today().toordinal()
        if skew is None or not is_of_today or abs(skew + self.behind) > CLOCK_LIMIT:
            return None
        return self.local_now() + skew

    @property
    def is_away(self) -> bool:
        """See MeterPort. A wire knows nothing of its meters."""
        return False

    def unsupported(self, what: What | Literal["control", "identity"]) -> str:
        """See MeterPort."""
        driver = self.driver
        match what:
            case "freeze":
                return "" if driver.read_daily_freeze else "the meter keeps no freezes"
            case "control":
                is_controlled = driver.control and driver.read_relay
                reason = "the meter has no relay that can be controlled and read back"
                return "" if is_controlled else reason
            case "clock":
                is_read = driver.read_clock is not None
            case "relay":
                is_read = driver.read_relay is not None
            case "identity":
                is_read = driver.read_identity is not None
            case "registers":
                is_read = True
        return "" if is_read else f"the meter has no {what} that can be read"

    async def read_freeze(self, day: date) -> Registers:
        """See MeterPort."""
        assert self.driver.read_daily_freeze, "a meter without memory was asked for its past"
        is_date_read = self.clocks.read_on[self.number] != self._today().toordinal()
        skew = await self._clock_skew()
        _refuse_astray(skew)
        # DL/T 645-2007, 05 06 ii NN: the index is a guess, the stamp of the freeze is the proof.
        expected = self.freezes.index(self.number, self._age_days(day))
        search = FreezeSearch(expected)
        while search.has_next():
            read = self.driver.read_daily_freeze(
                search.index,
                confirm=self._needs_proof(skew),
            )
            frozen = await self._run(read)
            if frozen is None:
                raise NoFreeze("no_freeze", f"the meter has no freeze of {day}")
            is_found = freeze_day(frozen.frozen_at) == day
            if not is_found and not is_date_read:
                # A poll reads the time of day alone: a clock may still be off by whole days, and
                # its stamps with it.
                self.clocks.forget(self.number)
                is_date_read = True
                skew = await self._clock_skew()
                _refuse_astray(skew)
            # Another day that comes by may be wanted as well.
            await self.submit(
                self.number,
                frozen,
                skew,
                is_found,
            )
            if is_found:
                self.freezes.learn(self.number, self._age_days(day), search.index)
                if frozen.registers[0] is None:
                    raise NoFreeze("no_freeze", f"the meter's freeze of {day} has no registers")
                return frozen.registers
            search.move((frozen.frozen_at.date() - day).days)
        raise NoFreeze("wrong_stamp", f"no freeze of the meter is stamped {day} 00:00")

    async def read_registers(self) -> InstantRegisters:
        """See MeterPort."""
        return InstantRegisters(await self._run(self.driver.read_registers()))

    async def read_doubts(self) -> list[str]:
        """See MeterPort."""
        if self.driver.read_doubts is None:
            await self._run(self.driver.read_registers())
            return []
        return await self._run(self.driver.read_doubts())

    async def read_clock(self) -> datetime:
        """See MeterPort."""
        assert self.driver.read_clock, "a meter without clock was asked for it"
        return await self._run(self.driver.read_clock())

    async def read_relay(self) -> RelayState:
        """See MeterPort."""
        assert self.driver.read_relay, "a meter without relay was asked for it"
        return await self._run(self.driver.read_relay())

    async def read_identity(self) -> MeterIdentity:
        """See MeterPort."""
        assert self.driver.read_identity, "a meter without a number was asked for it"
        return await self._run(self.driver.read_identity())

    async def read_settings(self) -> SettingsRead:
        """See MeterPort."""
        if self.driver.read_settings is None:
            return SettingsRead()
        skew = await self._clock_skew()
        settings = await self._run(self.driver.read_settings())
        if settings.settled is None or skew is None or abs(skew) > CLOCK_LIMIT:
            return SettingsRead(settings.ratio, rates=settings.rates)
        # What a settlement is of, only the meter's own clock and days say.
        moment = settled_at(settings.settles_at, self.local_now() + skew)
        if moment is None:
            return SettingsRead(settings.ratio, rates=settings.rates)
        month_end = MonthEndFreeze(moment, settings.settled)
        return SettingsRead(settings.ratio, month_end, settings.rates)

    async def sign(
        self, action: Action | MeterAction, meter_clock: datetime, valid_for: timedelta
    ) -> bytes | None:
        """See MeterPort."""
        if self.driver.signing is None:
            return None
        order = {
            "address": self.meter.address,
            "action": action,
            "n1": f"{RelayAction[action.upper()].value:02X}",
            "expires": f"{meter_clock + valid_for:%Y-%m-%dT%H:%M:%S}",
        }

        async def ask(payload: bytes) -> bytes:
            return await self._run(send_opaque(self.meter.address, SECURITY, payload))

        return await self.driver.signing.payload(order, ask)

    async def control(
        self,
        action: Action | MeterAction,
        send_id: UUID,
        meter_clock: datetime,
        valid_for: timedelta,
        signed: bytes | None,
    ) -> str:
        """See MeterPort."""
        assert self.driver.control, "a meter without relay was to be controlled"
        # DL/T 645-2007, 1CH: the meter refuses what has expired by its own clock.
        expires = meter_clock + valid_for
        exchange: Exchange[Any, Any] = (
            self.driver.control(RelayAction[action.upper()], expires)
            if signed is None
            else send_opaque(self.meter.address, CONTROL, signed)
        )
        try:
            await self._run(exchange)
        except SecretWithheld as error:
            raise NotSent(str(error)) from error
        # DL/T 645-2007: 9CH says accepted, not switched; the relay is read back (04 00 05 03).
        return "accepted by the meter"

    async def set_clock(self) -> timedelta | None:
        """Set the meter's clock; its skew afterwards, None if it could not be read back.

        It is read back because no meter answers to broadcast time (08H)."""
        assert self.driver.read_clock, "a clock that is not known was to be set"
        skew = None
        try:
            for set_clock in self.driver.clock_setters:
                if self.give_way is not None:
                    self.give_way()
                # No giving way in between: a clock that was set must be read back.
                await self._run_to_end(set_clock(self.local_now()))
                shown = await self._run_to_end(self.driver.read_clock())
                skew = shown - self.local_now()
                if abs(skew) <= GOOD_CLOCK:
                    break
        except (NoReply, MeterRefused, FrameError) as error:
            self._warn("clock not read back", error)
        except SecretWithheld as error:
            self._warn("clock not set", error)
        return skew

    async def _clock_skew(self) -> timedelta | None:
        """The meter's clock minus the host's, read if that is due; None when it cannot be read."""
        today = self._today().toordinal()
        if not self.clocks.needs_reading(self.number, today):
            return self.clocks.skew(self.number)
        skew = await self._read_skew()
        self.clocks.record(self.number, skew, today)
        return skew

    async def _read_skew(self) -> timedelta | None:
        if self.driver.read_clock is None:
            return None
        try:
            return await self.read_clock() - self.local_now()
        # A meter that is silent is not read any further: NoReply goes on.
        except (MeterRefused, FrameError) as error:
            self._warn("clock not read", error)
            return None

    def _needs_proof(self, skew: timedelta | None) -> bool:
        """True if the meter may freeze between two reads: its own midnight is near, or may be."""
        is_clock_unsure = skew is None or abs(skew) > CLOCK_LIMIT
        return is_clock_unsure or is_near_midnight(self.local_now(), MIDNIGHT_MARGIN)

    async def _run(self, exchange: Exchange[Any, T]) -> T:
        if self.give_way is not None:
            exchange = giving_way(exchange, self.give_way)
        if self.half_read is not None:
            exchange = self.half_read.resumed(exchange)
        return await self._run_to_end(exchange)

    async def _run_to_end(self, exchange: Exchange[Any, T]) -> T:
        return await self.conversations.run(self.driver.codec, exchange, retries=self.retries)

    def _today(self) -> date:
        return self.local_now().date()

    def _age_days(self, day: date) -> int:
        return (self._today() - day).days

    def _warn(self, event: str, error: Exception) -> None:
        log.warning(
            event,
            meter=self.meter.address,
            line=self.meter.line,
            error=str(error),
        )


def _refuse_astray(skew: timedelta | None) -> None:
    """NoFreeze while the clock that stamps the freezes is wrong by half a day."""
    if is_astray(skew):
        raise NoFreeze("meter_clock", "the meter's clock is wrong by half a day or more")
