"""One read of one meter on demand, and what became of it in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from daemon.acquisition.line import Line
from daemon.acquisition.planning.reads import ReadResult, What
from protocols.reading import RelayState
from storage.archive import SiteMeter

Key = tuple[int, What, date | None]
"""(meter id, what is read, day of a freeze): reads that are equal share an answer."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one meter's read.

    `values` by name, for ok; `at`: the instant that registers are of; `age_s`: how old a remembered
    answer is."""

    meter: str
    point: str
    line: str
    outcome: str
    day: date | None
    values: dict[str, str | None]
    reason: str
    age_s: float | None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MeterRead:
    """One read of one meter, and the line that it goes to."""

    line: Line
    meter: SiteMeter
    what: What
    day: date | None

    @property
    def key(self) -> Key:
        """What makes it equal to another."""
        return self.meter.meter_id, self.what, self.day


def in_words(
    read: MeterRead,
    result: ReadResult,
    age_s: float | None,
    not_kept: str,
) -> Result:
    """What is told of it; `not_kept`: why registers are not kept, or empty."""
    values = {}
    if result.outcome == "ok":
        values = _values(read, result.value)
    return Result(
        meter=read.meter.address,
        point=read.meter.point,
        line=read.line.name,
        outcome=result.outcome,
        day=read.day,
        values=values,
        reason=result.reason or not_kept,
        age_s=age_s,
        at=result.at,
    )


def _values(read: MeterRead, value: Any) -> dict[str, str | None]:
    """As words, by name.

    Registers in kWh, the clock as the meter shows it, the relay as it is and as it is ordered to
    be."""
    match value:
        case datetime():
            return {"clock": value.isoformat(sep=" ", timespec="seconds")}
        case RelayState():
            return {
                "relay": _position(value.relay_open),
                "ordered": _position(value.command_open),
            }
        case tuple():
            return {_register_name(tariff): _kwh(read, kwh) for tariff, kwh in enumerate(value)}
    raise AssertionError(f"{value!r} is no answer of a meter")


def _position(is_open: bool) -> str:
    return "open" if is_open else "closed"


def _register_name(tariff: int) -> str:
    return f"tariff_{tariff}_kwh" if tariff else "total_kwh"


def _kwh(read: MeterRead, kwh: Decimal | None) -> str | None:
    return None if kwh is None else f"{kwh:.{read.meter.decimals}f}"
