"""A version of a tariff as it is written, in TOML or JSON: every mistake of it at once.

Numbers are texts there, because money is never a binary fraction. What is refused at entry is the
list of money.md section 15a."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from config.cells import without_unit
from config.problems import did_you_mean, quoted
from config.tariff_version import (
    PRICE_DECIMALS,
    TOTAL,
    Cycle,
    Fixed,
    Ladder,
    Method,
    PartialYear,
    Proration,
    Surcharge,
    TariffVersion,
)

Place = tuple[str | int, ...]
S = TypeVar("S", bound=str)
MOST_YUAN: Final = 1000
"""A higher price of a kWh is a slip of the finger."""
MOST_FEE_YUAN: Final = 1_000_000
MOST_KWH: Final = 1_000_000_000
VERSION_KEYS: Final = (
    "id",
    "effective_from",
    "price",
    "energy",
    "ladder",
    "surcharges",
    "fixed",
    "minimum",
    "tax",
)
COMPONENTS: Final = ("energy", "tier", "fixed", "minimum", "tax", "compensation")
"""Of a charge; no surcharge may have such a code."""
CYCLES: Final[tuple[Cycle, ...]] = ("year", "month")
METHODS: Final[tuple[Method, ...]] = ("price", "adder", "matrix", "slab")
PARTIAL_YEARS: Final[tuple[PartialYear, ...]] = ("full", "months")
PRORATIONS: Final[tuple[Proration, ...]] = ("calendar", "thirtieth")
YEARS: Final = range(1990, 2200)
"""Of a first day; another one is a slip of the finger."""
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]+)?")
_RATE = re.compile(r"[\w-]+")
_TOU: Final = 'energy = { mode = "tou", prices = { peak = "0.617", valley = "0.307" } }'
_LADDER: Final = (
    'ladder = { cycle = "month", method = "price", bounds_kwh = ["240"], prices = ["0.4", "0.5"] }'
)
_SEASONS: Final = "a season is a version of its own, with its first day as effective_from"
_CLOCK: Final = f"the meter's own calendar tells rates apart; give their prices: {_TOU}"
_DAY_NIGHT: Final = _TOU.replace("peak", "day").replace("valley", "night")
_MATRIX: Final = 'matrix = [{ peak = "0.6", valley = "0.3" }, { peak = "0.7", valley = "0.4" }]'
_SLAB: Final = _LADDER.replace('"price"', '"slab"').replace(" }", ', whole_above_kwh = "240" }')
_MONTHLY: Final = 'fixed = { monthly_yuan = "40", proration = "calendar" }'
_MINIMUM: Final = 'minimum = { monthly_yuan = "15" }'
_TAX: Final = 'tax = { mode = "exclusive", rate = "0.15" }'
_SURCHARGES: Final = 'surcharges = [{ code = "fund", per_kwh = "0.01" }]'
_FLAT: Final = 'energy = { mode = "flat", price = "0.5" }'
_START: Final = "effective_from = 2026-01-01"
_END: Final = "a version is in force until the next one begins"
DOES_IT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("steps", "tiers", "blocks"), f"write {_LADDER}"),
    "slabs": f"write {_SLAB}",
    **dict.fromkeys(("price_day", "price_night"), f"write {_DAY_NIGHT}"),
    "prices": f"write {_TOU}",
    **dict.fromkeys(("sharp", "peak", "flat", "valley", "day", "night", "hours"), _CLOCK),
    **dict.fromkeys(("vat", "vat_rate", "tax_rate"), f"write {_TAX}"),
    **dict.fromkeys(("fixed_per_month", "standing_per_month", "monthly_yuan"), f"write {_MONTHLY}"),
    **dict.fromkeys(
        ("standing_per_day", "fixed_per_day", "daily_yuan"),
        'write fixed = { daily_yuan = "0.4366" }',
    ),
    **dict.fromkeys(("minimum_per_month", "minimum_yuan"), f"write {_MINIMUM}"),
    **dict.fromkeys(("from", "valid_from", "start", "since", "date"), f"write {_START}"),
    **dict.fromkeys(("effective_to", "valid_to", "to", "end", "until"), _END),
    **dict.fromkeys(("season", "seasons", "special_days"), _SEASONS),
}
"""What does what such a key was meant to do."""
_WRITTEN: Final[Mapping[str, str]] = {
    "energy": f"{_FLAT} or {_TOU}",
    "ladder": _LADDER,
    "fixed": _MONTHLY,
    "minimum": _MINIMUM,
    "tax": _TAX,
}
"""How a table of a version is written."""


class Mistake(NamedTuple):
    """Where in the version, and what is wrong."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.place))}: {self.message}"


def read_version(
    written: object, name: str, place: Place = ()
) -> tuple[TariffVersion | None, list[Mistake]]:
    """(the version, its mistakes): one of the two is empty. `name` of one without an `id`."""
    mistakes: list[Mistake] = []
    version = _version(_Form(written, place, mistakes), name)
    return (None if mistakes else version), mistakes


@dataclass
class _Form:
    """A table and where it stands. What is wrong is noted, and read as if it were harmless."""

    written: Any
    place: Place
    mistakes: list[Mistake]

    def __post_init__(self) -> None:
        if not isinstance(self.written, Mapping):
            key = str(self.place[-1]) if self.place else ""
            hint = f"; write {_WRITTEN[key]}" if key in _WRITTEN else ""
            self.tell("", f"must be a table{hint}")
            self.written = {}
            # What it would lack is no further mistake.
            self.mistakes = []

    def __contains__(self, key: str) -> bool:
        return self.written.get(key) is not None

    def tell(self, key: str, message: str, *deeper: int) -> None:
        place = (*self.place, key, *deeper) if key else self.place
        self.mistakes.append(Mistake(place, message))

    def only(self, *known: str, instead: Mapping[str, str] = MappingProxyType({})) -> None:
        for key in self.written:
            if key not in known:
                hint = f"; {instead[key]}" if key in instead else did_you_mean(key, known)
                self.tell(key, f"unknown key{hint}")

    def table(self, key: str) -> _Form:
        return _Form(self.written.get(key), (*self.place, key), self.mistakes)

    def tables(self, key: str, example: str) -> list[_Form]:
        return [
            _Form(it, (*self.place, key, number), self.mistakes)
            for number, it in enumerate(self.sequence(key, example))
        ]

    def sequence(self, key: str, example: str) -> Sequence[Any]:
        found = self.written.get(key)
        if found is None:
            return ()
        if isinstance(found, list | tuple):
            return found
        self.tell(key, f"must be a list; write {example}")
        return ()

    def choice(self, key: str, choices: Sequence[S], default: S | None = None) -> S:
        found = default if key not in self else self.written[key]
        for choice in choices:
            if found == choice:
                return choice
        self.tell(key, f"must be {' or '.join(choices)}, is {_quoted(found)}")
        return choices[0]

    def number(self, key: str, most: int = MOST_YUAN, example: str = "0.5283") -> Decimal:
        return self.as_number(self.written.get(key), most, key, example=example)

    def numbers(self, key: str, most: int = MOST_YUAN) -> tuple[Decimal, ...] | None:
        """None where they can not be read, which was told."""
        before = len(self.mistakes)
        found = self.sequence(key, f'{key} = ["1", "2"]')
        numbers = tuple(self.as_number(it, most, key, number) for number, it in enumerate(found))
        return numbers if len(self.mistakes) == before else None

    def as_number(
        self, found: object, most: int, key: str, *deeper: int, example: str = "0.5283"
    ) -> Decimal:
        if found is None:
            message = f'is missing; a number as a text: "{example}"'
        elif isinstance(found, int | float | Decimal) and not isinstance(found, bool):
            message = f'must be a number as a text, "{found}": money is never a binary fraction'
        elif not isinstance(found, str) or not _NUMBER.fullmatch(found):
            unit = "kwh" if most == MOST_KWH else "yuan"
            meant = without_unit(found, unit) if isinstance(found, str) else None
            message = f'{_quoted(found)} is not a number such as "{meant or example}"'
        elif len(found.partition(".")[2].rstrip("0")) > PRICE_DECIMALS:
            message = f"has more than {PRICE_DECIMALS} decimals"
        elif Decimal(found) > most:
            message = f'{quoted(found)[1:-1]} is more than {most}; a number such as "{example}"'
        else:
            return Decimal(found)
        self.tell(key, message, *deeper)
        return Decimal(0)


def _version(form: _Form, name: str) -> TariffVersion:
    form.only(*VERSION_KEYS, instead=DOES_IT)
    start = _start(form)
    before = len(form.mistakes)
    energy = _energy(form)
    ladder = _ladder(form.table("ladder")) if "ladder" in form else None
    if len(form.mistakes) == before and not _meant_a_price(form):
        _check_energy(form, energy, ladder)
    added, included = _tax(form)
    return TariffVersion(
        version_id=_id(form, f"{name}@{start}"),
        effective_from=start,
        energy=energy,
        ladder=ladder,
        surcharges=_surcharges(form),
        fixed=_fixed(form.table("fixed"), ladder) if "fixed" in form else None,
        minimum_yuan=_minimum(form.table("minimum")) if "minimum" in form else None,
        tax_rate=added,
        included_tax_rate=included,
    )


def _id(form: _Form, default: str) -> str:
    found = form.written["id"] if "id" in form else default
    if not isinstance(found, str) or not found.strip() or not found.isprintable():
        form.tell("id", f"must be a text, is {_quoted(found)}")
    return str(found)


def _start(form: _Form) -> date:
    found = form.written.get("effective_from")
    if isinstance(found, str):
        try:
            found = date.fromisoformat(found)
        except ValueError:
            found = None
    # For isinstance a datetime is a date too; its hour would be dropped without a word.
    if isinstance(found, datetime) or not isinstance(found, date):
        form.tell("effective_from", f"must be a date, its 00:00 counts: {_START}")
        return date.min
    if found.year not in YEARS:
        years = f"{YEARS[0]} and {YEARS[-1]}"
        form.tell("effective_from", f"the year {found.year} is not between {years}")
    return found


def _energy(form: _Form) -> Mapping[str, Decimal]:
    if "price" in form:
        if "energy" in form:
            form.tell("price", "energy has a price already; keep one of them")
        if isinstance(form.written["price"], Mapping):
            form.tell("price", f"of rates: write {_TOU}")
            return {}
        return {TOTAL: form.number("price")}
    if "energy" not in form:
        return {}
    energy = form.table("energy")
    if energy.choice("mode", ("flat", "tou")) == "flat":
        energy.only("mode", "price")
        return {TOTAL: energy.number("price")}
    energy.only("mode", "prices")
    return _rate_prices(energy.table("prices"))


def _rate_prices(form: _Form) -> dict[str, Decimal]:
    if not form.written:
        form.tell("", 'names no rate; as { peak = "0.617", valley = "0.307" }')
    for rate in form.written:
        if rate == TOTAL or not _RATE.fullmatch(rate):
            form.tell(rate, f"{_quoted(rate)} is not the name of a rate register")
    return {rate: form.number(rate) for rate in form.written}


def _ladder(form: _Form) -> Ladder:
    before = len(form.mistakes)
    method = form.choice("method", METHODS)
    cycle = form.choice("cycle", CYCLES)
    held = {"price": "prices", "slab": "prices", "adder": "adders", "matrix": "matrix"}[method]
    of_slab = ("whole_above_kwh",) if method == "slab" else ()
    form.only("method", "cycle", "bounds_kwh", "partial_year", held, *of_slab)
    bounds = form.numbers("bounds_kwh", MOST_KWH)
    matrix: tuple[dict[str, Decimal], ...] = ()
    prices: tuple[Decimal, ...] | None = ()
    if method == "matrix":
        matrix = tuple(map(_rate_prices, form.tables("matrix", _MATRIX)))
    else:
        prices = form.numbers(held)
    if bounds is not None and _check_bounds(form, bounds) and prices is not None:
        _check_count(form, held, len(matrix or prices), len(bounds))
    if any(row.keys() != matrix[0].keys() for row in matrix):
        form.tell("matrix", "every step must price the same rates")
    ladder = Ladder(
        cycle,
        method,
        bounds or (),
        prices or (),
        matrix,
        form.choice("partial_year", PARTIAL_YEARS, "full"),
        form.number("whole_above_kwh", MOST_KWH) if method == "slab" else None,
    )
    if method == "slab":
        _check_slab(form, ladder, is_good_so_far=len(form.mistakes) == before)
    return ladder


def _check_bounds(form: _Form, bounds: Sequence[Decimal]) -> bool:
    """Whether there are any, so that steps can be counted."""
    if not bounds:
        form.tell("bounds_kwh", 'holds no bound, as ["2760", "4800"]')
    for below, bound in pairwise((Decimal(0), *bounds)):
        if bound <= below:
            form.tell("bounds_kwh", f"must rise: {bound} comes after {below}")
            break
    return bool(bounds)


def _check_count(form: _Form, key: str, found: int, bounds: int) -> None:
    if found != bounds + 1:
        form.tell(key, f"{bounds} bounds make {bounds + 1} steps, here are {found}")


def _check_slab(form: _Form, ladder: Ladder, *, is_good_so_far: bool) -> None:
    if ladder.cycle != "month":
        form.tell("cycle", "slabs are by month")
    if ladder.whole_above_kwh not in (0, *ladder.bounds_kwh):
        form.tell("whole_above_kwh", 'must be one of bounds_kwh, or "0"')
    elif is_good_so_far:
        for number in ladder.cheaper_slabs():
            bound = ladder.bounds_kwh[number - 1]
            message = f"above {bound} kWh the whole month costs less than at {bound} kWh"
            form.tell("prices", message, number)


def _meant_a_price(form: _Form) -> bool:
    """Whether a key that does not exist was to be what would be missed."""
    return any(
        DOES_IT.get(key, "").startswith(("write energy", "write ladder")) for key in form.written
    )


def _check_energy(form: _Form, energy: Mapping[str, Decimal], ladder: Ladder | None) -> None:
    is_tou = bool(energy) and TOTAL not in energy
    if ladder is None or not ladder.replaces_energy:
        if not energy:
            form.tell(
                "energy",
                f"has no price; write {_WRITTEN['energy']}",
            )
    elif ladder.method == "slab" and is_tou:
        form.tell("ladder", "slabs and time of use do not go together")
    elif ladder.method == "matrix" and is_tou:
        missing = _named(rate for rate in energy if rate not in ladder.matrix[0])
        if missing:
            form.tell("ladder.matrix", f"leaves without a price: {missing}")


def _surcharges(form: _Form) -> tuple[Surcharge, ...]:
    surcharges: list[Surcharge] = []
    for it in form.tables("surcharges", _SURCHARGES):
        it.only("code", "per_kwh", "included")
        code = it.written.get("code")
        if not isinstance(code, str) or not _RATE.fullmatch(code):
            it.tell("code", 'must be a word of letters, digits, - and _, as "fund"')
        elif code in COMPONENTS:
            it.tell("code", f"{code} is the name of a component")
        elif code in {other.code for other in surcharges}:
            it.tell("code", f"{code} comes twice")
        is_included = it.written.get("included", False)
        if not isinstance(is_included, bool):
            it.tell("included", "must be true or false")
        surcharges.append(Surcharge(str(code), it.number("per_kwh"), bool(is_included)))
    return tuple(surcharges)


def _fixed(form: _Form, ladder: Ladder | None) -> Fixed:
    kinds = [kind for kind in ("monthly_yuan", "by_slab", "daily_yuan") if kind in form]
    form.only("monthly_yuan", "by_slab", "daily_yuan", "proration")
    if len(kinds) != 1:
        form.tell("", "must hold exactly one of monthly_yuan, by_slab and daily_yuan")
        return Fixed()
    if kinds == ["daily_yuan"]:
        if "proration" in form:
            form.tell("proration", "a fee by the day needs none")
        return Fixed(daily_yuan=form.number("daily_yuan", MOST_FEE_YUAN))
    proration = form.choice("proration", PRORATIONS, "calendar")
    if kinds == ["monthly_yuan"]:
        fee = form.number("monthly_yuan", MOST_FEE_YUAN)
        return Fixed(monthly_yuan=fee, proration=proration)
    return Fixed(by_slab=_fees(form.table("by_slab"), ladder), proration=proration)


def _fees(form: _Form, ladder: Ladder | None) -> dict[int, tuple[Decimal, ...]]:
    form.only("1", "3")
    if not form.written:
        form.tell("", 'must hold the fees of "1" phase or "3" phases, or of both')
    is_by_month = ladder is not None and ladder.cycle == "month"
    if ladder is None or not is_by_month:
        form.tell("", "a fee by slab needs a ladder by month")
    fees = {}
    for phases in (1, 3):
        if (key := str(phases)) not in form:
            continue
        told = form.numbers(key, MOST_FEE_YUAN)
        fees[phases] = told or ()
        if ladder is not None and ladder.bounds_kwh and told is not None:
            _check_count(form, key, len(told), len(ladder.bounds_kwh))
    return fees


def _minimum(form: _Form) -> Decimal:
    form.only("monthly_yuan")
    return form.number("monthly_yuan", MOST_FEE_YUAN)


def _tax(form: _Form) -> tuple[Decimal | None, Decimal | None]:
    """(what is added, what the prices hold)."""
    if "tax" not in form:
        return None, None
    tax = form.table("tax")
    tax.only("mode", "rate")
    rate = tax.number("rate", 1, example="0.13")
    if tax.choice("mode", ("exclusive", "inclusive")) == "exclusive":
        return rate, None
    return None, rate


def _named(words: Iterable[str]) -> str:
    return ", ".join(words)


def _quoted(found: object) -> str:
    return "missing" if found is None else quoted(found)
