"""Two meters were crossed: each serves the point that was written down for the other (V25)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from daemon.quality.judge import judge
from daemon.transactions.documents.desk import Desk, desk_of, refuse, shown
from daemon.transactions.supply import end_trips, pass_on
from storage import installations, ledger, supply
from storage.installations import InstallationRow, NewInstallation, Swap

CROSSED: Final = "the meters were crossed"


@dataclass(frozen=True, slots=True)
class Crossing:
    """The meter that is said to serve `point` serves `other`, and the other way round.

    `from_day`: since 00:00 of this day, on which both told a freeze; None: as long as they are
    there."""

    point: str
    other: str
    from_day: date | None

    @property
    def kind(self) -> Literal["crossing"]:
        """By which it is found."""
        return "crossing"

    async def write(self, desk: Desk) -> None:
        """The dated facts of both points. DocumentRefused."""
        across = await self._other(desk)
        first = _current(desk)
        second = _current(across)
        for each, row in ((desk, first), (across, second)):
            each.refuse_closed(self.from_day or each.first_freeze(row.from_at))
        # No trip of theirs is released meanwhile.
        await ledger.lock_accounts(desk.connection, desk.holders | across.holders)
        await _end_trips(desk, across)
        if self.from_day is None:
            _refuse_between_others(desk, across, first, second)
            await installations.swap_whole(desk.connection, _swap(desk, across, first, second))
        else:
            begun = {
                first.id: _begun(desk, first, across.point_id, self.from_day),
                second.id: _begun(across, second, desk.point_id, self.from_day),
            }
            await installations.swap_since(desk.connection, begun, desk.number)
        await _light_who_was_cut_for_another(desk, across)

    async def _other(self, desk: Desk) -> Desk:
        if self.other == self.point:
            refuse("nothing_changes", f"say which other point {self.point} was crossed with")
        if self.from_day is not None:
            desk.refuse_future(self.from_day)
        other_id = await installations.lock_point(desk.connection, self.other)
        if other_id is None:
            refuse("unknown_point", f"there is no point {self.other}")
        return await desk_of(desk.connection, self.other, other_id, desk.now, desk.number)


async def _end_trips(desk: Desk, across: Desk) -> None:
    """A trip would cut the other's customer: those of both points end, and are asked for anew."""
    both = [desk.point_id, across.point_id]
    sends = await end_trips(desk.connection, both, CROSSED, desk.now)
    unsent = [point for point, times in sends.items() if not times]
    await supply.set_supply(desk.connection, unsent, "energised")
    await installations.end_held_reconnects(desk.connection, both, CROSSED)
    if await installations.has_open_command(desk.connection, both):
        refuse(
            "command_open",
            f"a reconnect of {desk.point} or {across.point} is on its way; wait until it is done: "
            f"meterd supply show --point {desk.point}",
        )


async def _light_who_was_cut_for_another(desk: Desk, across: Desk) -> None:
    """What was cut for the arrears of the one was the supply of the other."""
    are_others = desk.holders != across.holders
    await installations.swap_supply(
        desk.connection, desk.point_id, across.point_id, are_others=are_others
    )
    if are_others:
        for each in (desk, across):
            for account in each.holders:
                await pass_on(desk.connection, each.point_id, account, CROSSED)


def _current(desk: Desk) -> InstallationRow:
    if not desk.installations:
        refuse(
            "no_meter",
            f"{desk.point} has no meter; put its first one into meters.csv and reload",
        )
    return desk.installations[-1]


def _swap(desk: Desk, across: Desk, first: InstallationRow, second: InstallationRow) -> Swap:
    return Swap(
        first_id=first.id,
        first_point=desk.point_id,
        first_at=first.from_at,
        second_id=second.id,
        second_point=across.point_id,
        document_id=desk.number,
    )


def _refuse_between_others(
    desk: Desk, across: Desk, first: InstallationRow, second: InstallationRow
) -> None:
    """Meters that came on different days leave no room for one another behind earlier ones."""
    are_alone = len(desk.installations) == len(across.installations) == 1
    if first.from_at != second.from_at and not are_alone:
        later = max(first.from_at, second.from_at)
        refuse(
            "overlapping_installation",
            f"{first.address} serves {desk.point} since {shown(first.from_at, desk.zone)}, "
            f"{second.address} serves {across.point} since {shown(second.from_at, desk.zone)}; "
            f"tell since when they are crossed: meterd meter crossed {desk.point} {across.point} "
            f"--from {desk.first_freeze(later).isoformat()}",
        )


def _begun(theirs: Desk, row: InstallationRow, point_id: int, day: date) -> NewInstallation:
    """The meter of `theirs` begins at the other point with the freeze that it told that day."""
    at = theirs.midnight(day)
    if at <= row.from_at:
        refuse(
            "overlapping_installation",
            f"{row.address} serves {theirs.point} since {shown(row.from_at, theirs.zone)} only; "
            "without --from it counts as crossed from the beginning",
        )
    state = judge(theirs.facts).days.get(day)
    reads = [
        read.registers
        for read in theirs.facts.reads
        if state is not None and read.day == day and read.registers.total == state.total
    ]
    if state is None or state.state != "published" or not reads:
        refuse(
            "no_freeze",
            f"{theirs.point} has no published freeze of {day}; name a day on which both points "
            f"have one: meterd readings {theirs.point}",
        )
    kwh = (reads[0].total, *(rate for _, rate in reads[0].rates))
    return NewInstallation(
        point_id=point_id,
        meter_id=row.meter_id,
        at=at,
        first_day=day,
        initial=theirs.steps(kwh, row.decimals, row.modulus, "the freeze"),
        modulus=row.modulus,
        decimals=row.decimals,
        wire_decimals=row.wire_decimals,
    )
