"""Use since the last billed register, as the registers of this moment show it (R65). Pure.

It is for display: marked as estimated, never posted, never asked by the guard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from daemon.billing.links import Link, advance

DAY: Final = timedelta(days=1)
NoEstimate = Literal["not_billed_yet", "held", "document", "not_read", "implausible", "no_rates"]
"""Why nothing is estimated of a point: no link yet; its newest use is held; its meter or ratio
changed since; no register was read since; the use would be beyond its limit; the price needs
registers that the read did not tell."""


class Current(NamedTuple):
    """The registers of a meter at an instant, in their smallest step."""

    meter_id: int
    at: datetime
    registers: Sequence[int]


def estimated_link(
    last: Link | None,
    current: Current | None,
    *,
    is_documented: bool,
    max_daily_kwh: Decimal,
    zone: ZoneInfo,
) -> Link | NoEstimate:
    """The use from the last billed midnight to a moment, as if its day ended then.

    `is_documented`: a meter or ratio came since. `max_daily_kwh`: in register units."""
    if last is None:
        return "not_billed_yet"
    if last.hold is not None:
        return "held"
    if current is None:
        return "not_read"
    if is_documented or current.meter_id != last.meter_id:
        return "document"
    to_day = current.at.astimezone(zone).date() + DAY
    days = (to_day - last.to_day).days
    registers = tuple(current.registers)
    used = Decimal(advance(last.ends, registers, last.modulus)[0]).scaleb(-last.decimals)
    # What went backwards seems to have gone round.
    if used > max_daily_kwh * days:
        return "implausible"
    shown = (last.meter_id, last.ends, registers)
    return Link(last.point_id, last.to_day, to_day, *shown, last.modulus, last.decimals, last.ratio)
