"""The most that the register of a point can advance in a day (V08): told, or worked out from what
its connection can carry.

P_max x 24 h x 1.2, before the ratio. P_max is the smallest of what is known: what the meter
carries, what is contracted, and 1.2 times the transformer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import Final, NamedTuple

TOLD: Final = "max_daily_kwh"
CURRENT: Final = "i_max_a"
VOLTAGE: Final = "u_n_v"
CONTRACT: Final = "contract_kw"
TRANSFORMER: Final = "transformer_kva"
DEFAULT: Final = "quality.max_daily_kwh"
"""The key of meterd.toml: what one phase carries of which nothing is known."""
ONE_PHASE_60_A_KWH: Final = 380
"""1.2 x 0.22 kV x 60 A x 24 h."""
VOLTS: Final[Mapping[int, Decimal]] = {1: Decimal(220), 3: Decimal(380)}
"""By phases, where it is not told: against neutral of one, between two of three (GB/T 156)."""
HOURS: Final = Decimal(24)
MARGIN: Final = Decimal("1.2")
W_PER_KW: Final = 1000
KINDS: Final = 4096
"""Of connections: a million points have few."""
DIGITS: Final = Context(prec=3, rounding=ROUND_HALF_UP)
"""The figures are not truer than that: 380.16 of 60 A is 380."""


class PointLimit(NamedTuple):
    """`basis`: what it follows from, the column that is mended first."""

    kwh: Decimal
    basis: str


class Connection(NamedTuple):
    """What points.csv says of one; None: not known."""

    ratio: Decimal
    phases: int
    i_max_a: Decimal | None
    u_n_v: Decimal | None
    contract_kw: Decimal | None
    transformer_kva: Decimal | None


@lru_cache(KINDS)
def limit_of(it: Connection, told: Decimal | None, one_phase_kwh: int) -> PointLimit:
    """The limit of a point. `told`: as it stands in the files; `one_phase_kwh`: where nothing is
    known."""
    if told is not None:
        return PointLimit(told, TOLD)
    known = list(_powers(it))
    if not known:
        return PointLimit(Decimal(one_phase_kwh * it.phases), DEFAULT)
    kw, basis = min(known)
    kwh = DIGITS.create_decimal(kw * HOURS * MARGIN)
    return PointLimit(Decimal(f"{kwh:f}"), basis)


def column_of(basis: str) -> str:
    """The column of points.csv that is written, or mended, where a limit is wrong."""
    return CURRENT if basis == DEFAULT else basis.split(" ", 1)[0]


def meter_kw(it: Connection) -> Decimal | None:
    """What the meter carries at its terminals."""
    if it.i_max_a is None:
        return None
    watts = it.i_max_a * _volts(it)
    if it.phases != 1:
        watts *= Decimal(3).sqrt()
    return watts / W_PER_KW


def _powers(it: Connection) -> Iterator[tuple[Decimal, str]]:
    """P_max before the ratio by each thing that is known, with its basis."""
    carried = meter_kw(it)
    if carried is not None:
        basis = f"{CURRENT} {it.i_max_a:f}, {VOLTAGE} {_volts(it):f}, phases {it.phases}"
        yield carried, basis
    if it.contract_kw is not None:
        yield it.contract_kw / it.ratio, f"{CONTRACT} {it.contract_kw:f}, ratio {it.ratio:f}"
    if it.transformer_kva is not None:
        basis = f"{TRANSFORMER} {it.transformer_kva:f}, ratio {it.ratio:f}"
        yield it.transformer_kva * MARGIN / it.ratio, basis


def _volts(it: Connection) -> Decimal:
    return VOLTS[it.phases] if it.u_n_v is None else it.u_n_v
