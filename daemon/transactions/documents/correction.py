"""What was written down of an installation was wrong: its day, its address, its clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from daemon.quality.facts import Clock
from daemon.transactions.documents.desk import (
    Desk,
    meter_address,
    refuse,
    refuse_overturned,
    shown,
)
from storage import holdings, installations
from storage.installations import InstallationRow
from storage.settling import ALL_DAYS, mark_accounts


@dataclass(frozen=True, slots=True)
class DateCorrection:
    """The meter that serves the point began at another moment; the one before it ended then."""

    point: str
    installed_at: datetime

    @property
    def kind(self) -> Literal["date_correction"]:
        """By which it is found."""
        return "date_correction"

    async def write(self, desk: Desk) -> None:
        """The dated facts that follow. DocumentRefused."""
        at = self.installed_at
        desk.refuse_future(at)
        current = _current(desk)
        before = desk.installations[-2] if len(desk.installations) > 1 else None
        if at == current.from_at:
            refuse(
                "nothing_changes",
                f"{current.address} serves {desk.point} since {shown(at, desk.zone)} already",
            )
        if before is not None and at <= before.from_at:
            refuse(
                "overlapping_installation",
                f"{before.address} serves {desk.point} since {shown(before.from_at, desk.zone)}, "
                f"and was exchanged for {current.address} after that; tell a later moment",
            )
        await self._refuse_elsewhere(desk, current)
        self._refuse_contradiction(desk)
        await installations.move_start(
            desk.connection,
            current.id,
            before.id if before is not None else None,
            at,
            desk.first_freeze(at),
            desk.number,
        )
        if before is None:
            # What is billed from the first meter on is billed from it still.
            was = desk.first_freeze(current.from_at)
            day = desk.first_freeze(at)
            moved = await holdings.move_holding(desk.connection, desk.point_id, was, day)
            await mark_accounts(desk.connection, moved, ALL_DAYS, "date correction")

    async def _refuse_elsewhere(self, desk: Desk, current: InstallationRow) -> None:
        other = await installations.serving(
            desk.connection, current.address, min(self.installed_at, current.from_at)
        )
        if other is not None and other.point not in (None, desk.point):
            refuse(
                "meter_serves_another_point",
                f"{current.address} serves {other.point} then; correct that first",
            )

    def _refuse_contradiction(self, desk: Desk) -> None:
        *others, told = sorted(desk.facts.installations, key=lambda it: it.at)
        if others:
            facts = replace(desk.facts, installations=tuple(others))
            refuse_overturned(desk, facts, replace(told, at=self.installed_at))


@dataclass(frozen=True, slots=True)
class AddressCorrection:
    """The address of a meter was mistyped, and nothing was read from it: an edit, kept in mind."""

    point: str
    address: str

    @property
    def kind(self) -> Literal["address_correction"]:
        """By which it is found."""
        return "address_correction"

    async def write(self, desk: Desk) -> None:
        """The dated facts that follow. DocumentRefused."""
        current = _current(desk)
        meter = await installations.meter(desk.connection, current.meter_id)
        address = meter_address(self.address, meter)
        if address == meter.address:
            refuse("nothing_changes", f"{desk.point} is served by {address} already")
        if meter.is_read:
            refuse(
                "has_readings",
                f"{meter.address} was read at {desk.point}, so it is there, or was. If another one "
                f"came: {exchange_command(desk, address)}",
            )
        known = await installations.serving(desk.connection, address, current.from_at)
        if known is not None and known.point is not None:
            refuse(
                "meter_serves_another_point",
                f"{address} serves {known.point}; if both were mixed up in the files and nothing "
                "was read yet, exchange them there and reload",
            )
        if known is None:
            await installations.readdress(
                desk.connection, meter.id, address, current.id, desk.number
            )
        else:
            await installations.replace_unread(
                desk.connection, meter.id, known.id, current.id, desk.number
            )


@dataclass(frozen=True, slots=True)
class ClockCorrection:
    """The meter keeps another time than was thought: the zone's, or standard time all year."""

    point: str
    clock: Clock

    @property
    def kind(self) -> Literal["clock_setting"]:
        """By which it is found."""
        return "clock_setting"

    async def write(self, desk: Desk) -> None:
        """The dated facts that follow. DocumentRefused."""
        current = _current(desk)
        settings = sorted(desk.facts.clock_settings, key=lambda it: it.rev)
        if (settings[-1].clock if settings else "zone") == self.clock:
            refuse(
                "nothing_changes",
                f"the clock of {current.address} at {desk.point} is {self.clock} already",
            )
        await installations.set_clock(desk.connection, current.meter_id, self.clock, desk.number)


def exchange_command(desk: Desk, address: str) -> str:
    """The command that tells of another meter, ready to paste: it asks for the registers."""
    at = shown(desk.now, desk.zone)
    return f'meterd meter exchange {desk.point} --at "{at}" --new-address {address}'


def _current(desk: Desk) -> InstallationRow:
    if not desk.installations:
        refuse(
            "no_meter",
            f"{desk.point} has no meter; put its first one into meters.csv and reload",
        )
    return desk.installations[-1]
