"""The facts of one point: all that a judgement may look at (judgement.md section 1).

Energy is kWh of the register, before the ratio, as exact Decimals; instants are aware datetimes,
days the local dates of the zone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

Clock = Literal["zone", "standard"]
"""Whether a meter follows the summer time of its zone or keeps standard time all year."""
Action = Literal["release", "reject", "withdraw", "substitute"]
MAX_AUTO_SPAN_DAYS: Final = 7
"""Where a site says nothing else."""


@dataclass(frozen=True, slots=True)
class Registers:
    """All registers of one answer; `rates` by name, sorted."""

    total: Decimal
    rates: tuple[tuple[str, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """One answer to the question for the freeze of `day`; None is what is not known.

    `stamp`: the freeze's own, wall clock of the meter. `skew_s`: meter clock minus legal time of
    the zone. `host_offset_s`: how far from midnight the host read it, of a meter that keeps none.
    """

    day: date
    registers: Registers
    read_at: datetime
    source: str = "line"
    stamp: datetime | None = None
    serial: str | None = None
    skew_s: int | None = None
    host_offset_s: int | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """A meter begins to serve the point; the one before it, if any, ended with `old_final`.

    An exchange, and a register that was restarted from 0, are installations too. Registers are
    None where nobody knows them."""

    at: datetime
    serial: str
    modulus: Decimal
    decimals: int
    wire_decimals: int
    initial: Registers | None = None
    old_final: Registers | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """What the register is multiplied with from then on, and what it showed.

    `at`: the midnight of a day, or a moment if another meter came with another ratio."""

    at: date | datetime
    ratio: Decimal
    rev: int = 0
    register: Registers | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that the register can advance in a day of 24 hours, from `day` on (V08)."""

    day: date
    max_daily: Decimal
    rev: int = 0


@dataclass(frozen=True, slots=True)
class ClockFinding:
    """How far the meter's clock was off on some days; None takes an earlier finding back."""

    first: date
    last: date
    skew_s: int | None
    rev: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What another rule found for some days: V25 crossed meters, V28 tables."""

    code: str
    first: date
    last: date
    rev: int = 0
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """Which time the meter keeps."""

    clock: Clock
    rev: int = 0


@dataclass(frozen=True, slots=True)
class SeenUse:
    """The use up to a value as a person saw it who released that value: from where, and how much.

    `kwh`: by the ratio of then."""

    start: date | datetime
    kwh: Decimal


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said about a value, or put in its place.

    For the same day and total (of a substitute: the same day) the highest `number` counts.
    `rates`: of a substitute that tells them, as in `Registers`. `seen`: of a release; None where
    nothing led up to the value."""

    action: Action
    day: date
    total: Decimal
    number: int
    rolled_over: bool = False
    method: str | None = None
    rates: tuple[tuple[str, Decimal], ...] = ()
    seen: SeenUse | None = None

    @property
    def registers(self) -> Registers:
        """What is put in the place of a reading."""
        return Registers(self.total, self.rates)


@dataclass(frozen=True, slots=True)
class LinkRelease:
    """Two persons said that the use between two days, which is held, is right: so much of it.

    `kwh`: what its registers showed then, by the ratio of then; it is the release of no other use.
    `agreed_kwh`: what is billed where they do not show all of it."""

    start: date
    end: date
    kwh: Decimal
    number: int
    agreed_kwh: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """A period was closed; `published` are the values that it was closed with."""

    through: date
    published: tuple[tuple[date, Registers], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known of one point; the order within each field means nothing.

    `refused`: days whose second read the meter refused. `begins_on`: the facts are a window and
    begin with this day's value, which is in the chain; only the last confirmed value before it is
    needed besides. None: they begin with the point. `max_auto_span_days`: over so many days an
    outlier is outvoted and a link billed by itself; what is longer is a matter for a person."""

    zone: ZoneInfo
    installations: tuple[Installation, ...]
    limits: tuple[Limit, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    reads: tuple[Read, ...] = ()
    refused: frozenset[date] = frozenset()
    clock_settings: tuple[ClockSetting, ...] = ()
    clock_findings: tuple[ClockFinding, ...] = ()
    findings: tuple[Finding, ...] = ()
    decisions: tuple[Decision, ...] = ()
    link_releases: tuple[LinkRelease, ...] = ()
    closings: tuple[Closing, ...] = ()
    begins_on: date | None = None
    max_auto_span_days: int = MAX_AUTO_SPAN_DAYS


Fact = (
    Read
    | Installation
    | Ratio
    | Limit
    | ClockFinding
    | Finding
    | ClockSetting
    | Decision
    | LinkRelease
    | Closing
)

_FIELD = {
    Read: "reads",
    Installation: "installations",
    Ratio: "ratios",
    Limit: "limits",
    ClockFinding: "clock_findings",
    Finding: "findings",
    ClockSetting: "clock_settings",
    Decision: "decisions",
    LinkRelease: "link_releases",
    Closing: "closings",
}


def with_fact(facts: Facts, fact: Fact) -> Facts:
    """The facts and one more."""
    field = _FIELD[type(fact)]
    changed: dict[str, Any] = {field: (*getattr(facts, field), fact)}
    return replace(facts, **changed)
