"""Random accounts for properties of prices: tariffs as they are written in cases, days of use.

Each is made of one number: hypothesis draws the number, and what fails is repeated by it."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.unit.billing.exact_account import DAY, Story

STARTS = ("2026-02-11", "2026-03-01", "2026-03-20")
FIRST = date(2026, 2, 1)
DAYS = 75
RATES = ("peak", "valley")
seeds = st.integers(0, 2**32)


def text(units: int, decimals: int = 4) -> str:
    return f"{Decimal(units).scaleb(-decimals):f}"


def price(chance: Random) -> str:
    return text(chance.randrange(20_000))


def fee(chance: Random) -> str:
    return text(chance.randrange(5_000), chance.choice([2, 2, 5]))


def energy(chance: Random, most: int) -> Fraction:
    """Sometimes finer than what meters show."""
    parts = chance.choice([1, 100, 10_000])
    return Fraction(chance.randint(0, most * parts), parts)


def ladder(chance: Random, methods: tuple[str, ...]) -> dict[str, Any]:
    method = chance.choice(methods)
    cycle = "month" if method == "slab" else chance.choice(["year", "month"])
    bounds = [str(bound) for bound in sorted(chance.sample(range(1, 400), chance.randint(1, 3)))]
    # Rising prices never make a month cheaper at a bound.
    steps = [
        text(cost) for cost in sorted(chance.randrange(20_000) for _ in range(len(bounds) + 1))
    ]
    written: dict[str, Any] = {"cycle": cycle, "method": method, "bounds_kwh": bounds}
    written["adders" if method == "adder" else "prices"] = steps
    if method == "slab":
        written["whole_above_kwh"] = chance.choice(["0", *bounds])
    if cycle == "year":
        written["partial_year"] = chance.choice(["full", "months"])
    return written


def fixed(chance: Random, by: dict[str, Any] | None) -> dict[str, Any]:
    kinds = ["monthly_yuan", "daily_yuan"]
    if by is not None and by["cycle"] == "month":
        kinds += ["by_slab"] * 2
    kind = chance.choice(kinds)
    if kind == "daily_yuan":
        return {kind: fee(chance)}
    proration = chance.choice(["calendar", "thirtieth"])
    if kind == "monthly_yuan" or by is None:
        return {kind: fee(chance), "proration": proration}
    count = len(by["bounds_kwh"]) + 1
    fees = {phases: [fee(chance) for _ in range(count)] for phases in ("1", "3")}
    return {kind: fees, "proration": proration}


def version(chance: Random, start: str) -> dict[str, Any]:
    is_tou = chance.random() < 0.4
    energy: dict[str, Any] = {"mode": "flat", "price": price(chance)}
    if is_tou:
        energy = {"mode": "tou", "prices": {rate: price(chance) for rate in RATES}}
    written: dict[str, Any] = {"id": start, "effective_from": start, "energy": energy}
    if chance.random() < 0.8:
        methods = ("adder", "price") if is_tou else ("adder", "price", "slab", "slab")
        written["ladder"] = ladder(chance, methods)
    if chance.random() < 0.6:
        written["fixed"] = fixed(chance, written.get("ladder"))
    if chance.random() < 0.5:
        # Often above what a little use costs.
        written["minimum"] = {"monthly_yuan": text(chance.randrange(50_000), 2)}
    if chance.random() < 0.5:
        written["surcharges"] = [
            {"code": "fund", "per_kwh": text(chance.randrange(20_000), chance.choice([4, 6]))},
            {"code": "green", "per_kwh": price(chance), "included": chance.random() < 0.5},
        ]
    if chance.random() < 0.6:
        mode = chance.choice(["exclusive", "exclusive", "inclusive"])
        written["tax"] = {"mode": mode, "rate": chance.choice(["0.06", "0.15"])}
    return written


def versions(chance: Random) -> list[dict[str, Any]]:
    starts = sorted(chance.sample(STARTS, chance.randint(0, 2)))
    return [version(chance, start) for start in ("2026-01-01", *starts)]


def story(seed: int, *, like: Story | None = None) -> Story:
    """An account; `like`: another one of the same tariff."""
    chance = Random(seed)
    written = versions(chance) if like is None else like.versions
    days = [FIRST + number * DAY for number in range(DAYS)]
    opened = chance.choice([None, FIRST, FIRST + 5 * DAY, FIRST + 28 * DAY])
    last = chance.choice([None, FIRST + 27 * DAY, FIRST + 40 * DAY, FIRST + 58 * DAY])
    most = chance.choice([0, 100, 1_000, 3_000])
    use = {}
    for day in days:
        kwh = chance.randint(0, most)
        is_in_service = (opened or day) <= day <= (last or day)
        if is_in_service and chance.random() < 0.8:
            peak = kwh // 3
            registers = {"total": kwh, "peak": peak, "valley": kwh - peak}
            use[day] = {name: Fraction(steps, 100) for name, steps in registers.items()}
    closed_until = FIRST + chance.randint(0, DAYS) * DAY
    bonuses = [(start, energy(chance, 50)) for start in sorted(chance.sample(days, 2))]
    cycles = [cycle for cycle in ("2026", "2026-02", "2026-03") if chance.random() < 0.6]
    return Story(
        versions=written,
        use=use,
        closed={day for day in days if day < closed_until},
        opened=opened,
        last=last,
        bonuses=bonuses[: chance.randint(0, 2)],
        elsewhere={cycle: energy(chance, 300) for cycle in cycles},
        phases=chance.choice([1, 3]),
    )


stories = seeds.map(story)
