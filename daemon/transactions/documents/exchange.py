"""A meter is exchanged, or its register starts anew: two registers instead of a step back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal

from config.meters import DLT645, LEAST_DECIMALS
from daemon.quality.facts import Installation
from daemon.transactions.documents.desk import (
    Desk,
    Kwh,
    meter_address,
    refuse,
    refuse_overturned,
    registers_of,
    shown,
)
from storage import installations
from storage.installations import InstallationRow, InstalledMeter, NewInstallation


@dataclass(frozen=True, slots=True)
class Exchange:
    """From `at` on another meter serves the point; `address` None: the same one, restarted.

    `old_final`, `new_initial`: what was read off, None where nobody knows. The rest is None where
    it stays as it was; `modulus` in kWh."""

    point: str
    at: datetime
    address: str | None
    old_final: Kwh | None
    new_initial: Kwh | None
    ratio: Decimal | None = None
    modulus: Decimal | None = None
    decimals: int | None = None

    @property
    def kind(self) -> Literal["exchange", "restart"]:
        """By which it is found."""
        return "restart" if self.address is None else "exchange"

    async def write(self, desk: Desk) -> None:
        """The dated facts that follow. DocumentRefused.

        The last exchange told again, for the same moment and meter: its registers were others."""
        desk.refuse_future(self.at)
        if await self._is_told_again(desk):
            await self._correct(desk)
            return
        old = _ended(desk, self.at)
        removed = await installations.meter(desk.connection, old.meter_id)
        meter_id, serial = await self._meter(desk, removed)
        new = self._begun(desk, old, meter_id, removed.protocol)
        final = None
        if self.old_final is not None:
            final = desk.steps(self.old_final, old.decimals, old.modulus, "the final register")
        told = _installation(self, new, serial, final, old.decimals)
        refuse_overturned(desk, desk.facts, told)
        await installations.exchange(desk.connection, old.id, final, new, desk.number)
        await self._put_ratio(desk)

    async def _is_told_again(self, desk: Desk) -> bool:
        if len(desk.installations) < 2 or desk.installations[-1].from_at != self.at:
            return False
        old, last = desk.installations[-2:]
        if self.address is None:
            return old.meter_id == last.meter_id
        meter = await installations.meter(desk.connection, last.meter_id)
        return meter_address(self.address, meter) == last.address != old.address

    async def _correct(self, desk: Desk) -> None:
        old, last = desk.installations[-2:]
        if self.decimals not in (None, last.decimals):
            refuse(
                "not_a_register",
                f"{last.address} was read with {last.decimals} decimals; leave --decimals away",
            )
        meter = await installations.meter(desk.connection, last.meter_id)
        new = self._begun(desk, last, last.meter_id, meter.protocol)
        final = None
        if self.old_final is not None:
            final = desk.steps(self.old_final, old.decimals, old.modulus, "the final register")
        *others, was = sorted(desk.facts.installations, key=lambda it: it.at)
        told = _installation(self, new, was.serial, final, old.decimals)
        if told == was and self.ratio is None:
            refuse("nothing_changes", "the exchange was told with these registers already")
        refuse_overturned(desk, replace(desk.facts, installations=tuple(others)), told)
        await installations.correct_exchange(
            desk.connection, old.id, final, last.id, new, desk.number
        )
        await self._put_ratio(desk)

    async def _put_ratio(self, desk: Desk) -> None:
        if self.ratio is not None:
            await installations.add_ratio(
                desk.connection,
                desk.point_id,
                desk.first_freeze(self.at),
                self.ratio,
                None,
                desk.number,
                from_at=self.at,
            )

    async def _meter(self, desk: Desk, removed: InstalledMeter) -> tuple[int, str]:
        """The row and the address of the meter that begins to serve."""
        if self.address is None:
            return removed.id, removed.address
        address = meter_address(self.address, removed)
        if address == removed.address:
            refuse(
                "overlapping_installation",
                f"{address} serves {desk.point} already; a register that was restarted is told "
                "with --same-serial instead of --new-address",
            )
        known = await installations.serving(desk.connection, address, self.at)
        if known is None:
            return await installations.add_meter_like(desk.connection, removed.id, address), address
        if known.point is not None and known.from_at is not None:
            refuse(
                "meter_serves_another_point",
                f"{address} serves {known.point} since {shown(known.from_at, desk.zone)}; if it "
                f"was taken from there, tell first what came there instead (meterd meter exchange "
                f"{known.point} ...), and compare the number with the label otherwise",
            )
        return known.id, address

    def _begun(
        self, desk: Desk, old: InstallationRow, meter_id: int, protocol: str
    ) -> NewInstallation:
        decimals = old.decimals if self.decimals is None else self.decimals
        if self.modulus is not None:
            modulus = int(self.modulus.scaleb(decimals))
        else:
            modulus = int(Decimal(old.modulus).scaleb(decimals - old.decimals))
        initial = None
        if self.new_initial is not None:
            initial = desk.steps(self.new_initial, decimals, modulus, "the initial register")
        return NewInstallation(
            point_id=desk.point_id,
            meter_id=meter_id,
            at=self.at,
            first_day=desk.first_freeze(self.at),
            initial=initial,
            modulus=modulus,
            decimals=decimals,
            # V11: whatever resolution is kept, these meters send steps of 0.01 kWh.
            wire_decimals=min(decimals, LEAST_DECIMALS) if protocol in DLT645 else decimals,
        )


def _ended(desk: Desk, at: datetime) -> InstallationRow:
    """The installation that ends at that moment: the last one of its point."""
    if not desk.installations:
        refuse(
            "no_meter",
            f"{desk.point} has no meter; put its first one into meters.csv and reload",
        )
    last = desk.installations[-1]
    if at <= last.from_at:
        since = shown(last.from_at, desk.zone)
        told = f" by document {last.document_id}" if last.document_id else ""
        refuse(
            "overlapping_installation",
            f"{last.address} serves {desk.point} since {since}{told}; an exchange is later than "
            "that. If a register of that one is wrong, tell it again for that very moment and "
            "meter; if the moment is: "
            f'meterd meter correct {desk.point} --installed-at "YYYY-MM-DD HH:MM"',
        )
    return last


def _installation(
    said: Exchange,
    new: NewInstallation,
    serial: str,
    final: list[int] | None,
    final_decimals: int,
) -> Installation:
    """The fact that the judgement will see."""
    return Installation(
        at=said.at,
        serial=serial,
        modulus=Decimal(new.modulus).scaleb(-new.decimals),
        decimals=new.decimals,
        wire_decimals=new.wire_decimals,
        initial=registers_of(new.initial, new.decimals),
        old_final=registers_of(final, final_decimals),
    )
