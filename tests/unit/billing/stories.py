"""Random accounts for properties of prices: tariffs as they are written in cases, days of use."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from tests.unit.billing.exact_account import DAY, Story

STARTS = ("2026-01-01", "2026-02-11", "2026-03-01", "2026-03-20")
FIRST = date(2026, 2, 1)
DAYS = 75
RATES = ("peak", "valley")


def text(hundredths: int, decimals: int = 4) -> str:
    return f"{Decimal(hundredths).scaleb(-decimals):f}"


prices = st.integers(0, 20_000).map(text)
fees = st.integers(0, 5_000).map(lambda cents: text(cents, 2))


@st.composite
def ladders(draw: st.DrawFn, methods: tuple[str, ...]) -> dict[str, Any]:
    method = draw(st.sampled_from(methods))
    cycle = "month" if method == "slab" else draw(st.sampled_from(["year", "month"]))
    bounds = sorted(draw(st.sets(st.integers(1, 400), min_size=1, max_size=3)))
    # Rising prices never make a month cheaper at a bound.
    costs = sorted(draw(st.lists(st.integers(0, 20_000), min_size=4, max_size=4)))
    steps = [text(cost) for cost in costs][: len(bounds) + 1]
    ladder: dict[str, Any] = {"cycle": cycle, "method": method, "bounds_kwh": [*map(str, bounds)]}
    ladder["adders" if method == "adder" else "prices"] = steps
    if method == "slab":
        ladder["whole_above_kwh"] = draw(st.sampled_from(["0", *ladder["bounds_kwh"]]))
    if cycle == "year":
        ladder["partial_year"] = draw(st.sampled_from(["full", "months"]))
    return ladder


@st.composite
def fixed_charges(draw: st.DrawFn, ladder: Mapping[str, Any] | None) -> dict[str, Any]:
    kinds = ["monthly_yuan", "daily_yuan"]
    if ladder is not None and ladder["cycle"] == "month":
        kinds.append("by_slab")
    kind = draw(st.sampled_from(kinds))
    if kind == "daily_yuan":
        return {kind: draw(fees)}
    proration = draw(st.sampled_from(["calendar", "thirtieth"]))
    if kind == "monthly_yuan" or ladder is None:
        return {kind: draw(fees), "proration": proration}
    count = len(ladder["bounds_kwh"]) + 1
    some_fees = st.lists(fees, min_size=count, max_size=count)
    return {kind: {"1": draw(some_fees), "3": draw(some_fees)}, "proration": proration}


@st.composite
def versions(draw: st.DrawFn, start: str) -> dict[str, Any]:
    is_tou = draw(st.booleans())
    energy: dict[str, Any] = {"mode": "flat", "price": draw(prices)}
    if is_tou:
        energy = {"mode": "tou", "prices": {rate: draw(prices) for rate in RATES}}
    version: dict[str, Any] = {"id": start, "effective_from": start, "energy": energy}
    if draw(st.booleans()):
        version["ladder"] = draw(
            ladders(("adder", "price") if is_tou else ("adder", "price", "slab"))
        )
    if draw(st.booleans()):
        version["fixed"] = draw(fixed_charges(version.get("ladder")))
    if draw(st.booleans()):
        version["minimum"] = {"monthly_yuan": draw(fees)}
    if draw(st.booleans()):
        version["surcharges"] = [
            {"code": "fund", "per_kwh": draw(prices)},
            {"code": "green", "per_kwh": draw(prices), "included": draw(st.booleans())},
        ]
    if draw(st.booleans()):
        mode = draw(st.sampled_from(["exclusive", "inclusive"]))
        version["tax"] = {"mode": mode, "rate": draw(st.sampled_from(["0.06", "0.15"]))}
    return version


@st.composite
def stories(draw: st.DrawFn) -> Story:
    starts = sorted(draw(st.sets(st.sampled_from(STARTS[1:]), max_size=2)) | {STARTS[0]})
    days = [FIRST + number * DAY for number in range(DAYS)]
    opened = draw(st.sampled_from([None, FIRST, FIRST + 5 * DAY, FIRST + 28 * DAY]))
    last = draw(st.sampled_from([None, FIRST + 27 * DAY, FIRST + 40 * DAY, FIRST + 58 * DAY]))
    hundredths = draw(st.lists(st.integers(0, 3_000), min_size=DAYS, max_size=DAYS))
    is_used = [draw(st.booleans()), draw(st.booleans()), draw(st.booleans())]
    use = {
        day: {
            "total": Fraction(kwh, 100),
            "peak": Fraction(kwh // 3, 100),
            "valley": Fraction(kwh - kwh // 3, 100),
        }
        for day, kwh in zip(days, hundredths, strict=True)
        if (opened or day) <= day <= (last or day) and is_used[day.month % 3]
    }
    closed_until = FIRST + draw(st.integers(0, DAYS)) * timedelta(days=1)
    bonus_starts = draw(st.sets(st.sampled_from([*days[::9]]), max_size=2))
    return Story(
        versions=[draw(versions(start)) for start in starts],
        use=use,
        closed={day for day in days if day < closed_until},
        opened=opened,
        last=last,
        bonuses=[(start, Fraction(draw(st.integers(0, 50)))) for start in sorted(bonus_starts)],
        elsewhere=draw(
            st.dictionaries(
                st.sampled_from(["2026", "2026-02", "2026-03"]), st.integers(0, 300).map(Fraction)
            )
        ),
        phases=draw(st.sampled_from([1, 3])),
    )
