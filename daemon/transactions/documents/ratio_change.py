"""The ratio of a point changes, or was another one than was written down (R06)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal

from daemon.quality.facts import Ratio, with_fact
from daemon.quality.in_force import in_force
from daemon.quality.judge import judge
from daemon.quality.verdict import withdrawn
from daemon.transactions.documents.desk import Desk, Kwh, refuse, refuse_overturned, registers_of
from storage import installations

LAST: Final = 1 << 30
"""A revision above all that are stored: the document counts when it is tried."""


@dataclass(frozen=True, slots=True)
class RatioChange:
    """From 00:00 of a day on the register is multiplied with `ratio`.

    `register`: what it showed then; None: nobody read it, and that day's freeze tells."""

    point: str
    from_day: date
    ratio: Decimal
    register: Kwh | None

    @property
    def kind(self) -> Literal["ratio"]:
        """By which it is found."""
        return "ratio"

    async def write(self, desk: Desk) -> None:
        """The dated facts that follow. DocumentRefused."""
        desk.refuse_future(self.from_day)
        desk.refuse_closed(self.from_day)
        meter = desk.serving_at(desk.midnight(self.from_day))
        if meter is None:
            refuse(
                "no_meter",
                f"{desk.point} has no meter on {self.from_day}; tell a day on which it has one "
                "(the first day stands in meters.csv)",
            )
        steps = None
        if self.register is not None:
            steps = desk.steps(self.register, meter.decimals, meter.modulus, "the register")
        told = Ratio(self.from_day, self.ratio, LAST, registers_of(steps, meter.decimals))
        if self.ratio == _ratio_on(desk, self.from_day) and not _is_told_again(desk, told):
            refuse(
                "nothing_changes",
                f"the ratio of {desk.point} is {self.ratio} on {self.from_day} already",
            )
        refuse_overturned(desk, desk.facts, told)
        _refuse_disproved(desk, told)
        await installations.add_ratio(
            desk.connection, desk.point_id, self.from_day, self.ratio, steps, desk.number
        )


def _refuse_disproved(desk: Desk, told: Ratio) -> None:
    """A register that somebody read is no way to take published days back."""
    lost = withdrawn(judge(desk.facts), judge(with_fact(desk.facts, told)))
    if lost:
        day, total = lost[0]
        refuse(
            "contradicts_published",
            f"{desk.point} has {total} published for {day}, and that register does not fit; read "
            "it again, or take the published value back first: "
            f"meterd quality withdraw {desk.point} {day} {total} --reason WHY",
        )


def _is_told_again(desk: Desk, told: Ratio) -> bool:
    """Whether that day's register was told, and was another one."""
    was = [it.register for it in in_force(desk.facts).ratios if it.at == told.at]
    return told.register is not None and was not in ([], [None], [told.register])


def _ratio_on(desk: Desk, day: date) -> Decimal | None:
    """The one in force from that midnight on."""
    at = desk.midnight(day)
    begun = {
        it.at if isinstance(it.at, datetime) else desk.midnight(it.at): it.ratio
        for it in in_force(desk.facts).ratios
    }
    latest = max((moment for moment in begun if moment <= at), default=None)
    return begun[latest] if latest is not None else None
