"""What an account costs, in fractions: money.md sections 5, 7, 11 and 15a said a second time.

For tests to compare with. It works on tariff versions as they are written in cases, and on the use
of single days; a span over a bound is worth the sum of its days, but under a matrix ladder, which
takes link by link."""

from calendar import monthrange
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from functools import cached_property
from typing import Any

Version = Mapping[str, Any]
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Story:
    """`use`: kWh by day and register. `parts`: the same by link, in order of time, where a matrix
    ladder asks for it. `elsewhere`: kWh by cycle."""

    versions: Sequence[Version]
    use: Mapping[date, Mapping[str, Fraction]]
    closed: Collection[date] = ()
    opened: date | None = None
    last: date | None = None
    bonuses: Sequence[tuple[date, Fraction]] = ()
    elsewhere: Mapping[str, Fraction] = field(default_factory=dict)
    phases: int = 1
    parts: Sequence[tuple[date, Mapping[str, Fraction]]] = ()

    @cached_property
    def month_uses(self) -> dict[str, Fraction]:
        """U of each month, under versions with a ladder by month."""
        total = defaultdict(Fraction, self.elsewhere)
        for day, used in self.use.items():
            if version_on(self, day).get("ladder", {}).get("cycle") == "month":
                total[f"{day:%Y-%m}"] += used["total"]
        return total


def bill(story: Story) -> dict[tuple[str, str], Fraction]:
    """Yuan by (month, component)."""
    lines: defaultdict[tuple[str, str, str], Fraction] = defaultdict(Fraction)
    position = dict(story.elsewhere)
    begun: set[str] = set()
    for day, used in story.parts or sorted(story.use.items()):
        version = version_on(story, day)
        month, key = f"{day:%Y-%m}", str(version["effective_from"])
        ladder = version.get("ladder")
        if ladder is None or ladder["method"] == "adder":
            lines[month, key, "energy"] += energy(version, used)
        if ladder is not None:
            cycle = f"{day:%Y}" if ladder["cycle"] == "year" else month
            u0 = position.get(cycle, Fraction(0))
            u1 = position[cycle] = u0 + used["total"]
            component = "tier" if ladder["method"] == "adder" else "energy"
            difference = way(story, version, day, (u0, u1), used)
            if ladder["method"] == "slab" and cycle not in begun:
                o, end = story.elsewhere.get(month, Fraction(0)), story.month_uses[month]
                difference += f(story, version, day, o, end) - f(story, version, day, o, o)
            begun.add(cycle)
            lines[month, key, component] += difference
        for code, price in added(version):
            lines[month, key, code] += price * used["total"]
    for month in sorted({f"{day:%Y-%m}" for day in story.closed}):
        standing(story, month, lines)
    for (month, key, _), yuan in list(lines.items()):
        version = next(v for v in story.versions if str(v["effective_from"]) == key)
        if version.get("tax", {}).get("mode") == "exclusive":
            lines[month, key, "tax"] += yuan * Fraction(version["tax"]["rate"])
    streams: defaultdict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for (month, _, component), yuan in lines.items():
        streams[month, component] += yuan
    return streams


def added(version: Version) -> Iterator[tuple[str, Fraction]]:
    for surcharge in version.get("surcharges", ()):
        if not surcharge.get("included"):
            yield surcharge["code"], Fraction(surcharge["per_kwh"])


def version_on(story: Story, day: date) -> Version:
    return [v for v in story.versions if date.fromisoformat(v["effective_from"]) <= day][-1]


def energy(version: Version, used: Mapping[str, Fraction]) -> Fraction:
    told = version["energy"]
    if told["mode"] == "flat":
        return Fraction(told["price"]) * used["total"]
    return sum((Fraction(price) * used[rate] for rate, price in told["prices"].items()), Fraction())


def bounds(story: Story, ladder: Mapping[str, Any], day: date) -> list[Fraction]:
    months = [date(day.year, n, 1) for n in range(1, 13)]
    told = [Fraction(bound) for bound in ladder["bounds_kwh"]]
    if ladder["cycle"] == "month":
        return [bound + bonus(story, day.replace(day=1)) for bound in told]
    if (
        ladder.get("partial_year") == "months"
        and story.last is not None
        and story.last.year == day.year
    ):
        first = date.min if story.opened is None else story.opened.replace(day=1)
        months = [month for month in months if first <= month <= story.last]
    more = sum((bonus(story, month) for month in months), Fraction())
    return [bound / 12 * len(months) + more for bound in told]


def bonus(story: Story, month: date) -> Fraction:
    return next((kwh for start, kwh in sorted(story.bonuses)[::-1] if start <= month), Fraction())


def f(story: Story, version: Version, day: date, u: Fraction, end: Fraction) -> Fraction:
    """F_v(u; U)."""
    ladder = version["ladder"]
    edges = bounds(story, ladder, day)
    prices = [Fraction(price) for price in ladder.get("prices", ladder.get("adders"))]
    if ladder["method"] == "slab":
        whole = ladder["whole_above_kwh"]
        above = edges[ladder["bounds_kwh"].index(whole)] if whole != "0" else Fraction()
        if end > above:
            return prices[slab(edges, end)] * u
    cost, below = Fraction(), Fraction()
    for edge, price in zip([*edges, max(u, edges[-1])], prices, strict=True):
        cost += max(Fraction(), min(u, edge) - below) * price
        below = edge
    return cost


def way(
    story: Story,
    version: Version,
    day: date,
    positions: tuple[Fraction, Fraction],
    used: Mapping[str, Fraction],
) -> Fraction:
    """What it costs that a cycle goes from one position to another."""
    ladder, (u0, u1) = version["ladder"], positions
    if ladder["method"] == "matrix":
        return matrix(ladder, bounds(story, ladder, day), u0, used)
    end = story.month_uses.get(f"{day:%Y-%m}", Fraction())
    return f(story, version, day, u1, end) - f(story, version, day, u0, end)


def matrix(
    ladder: Mapping[str, Any], edges: Sequence[Fraction], u0: Fraction, used: Mapping[str, Fraction]
) -> Fraction:
    """Each rate is split over the steps as the total is; without a total it is of the step of U."""
    way, cost, below = used["total"], Fraction(), Fraction()
    for number, prices in enumerate(ladder["matrix"]):
        edge = edges[number] if number < len(edges) else max(u0 + way, edges[-1])
        share = Fraction(int(slab(edges, u0) == number))
        if way:
            share = max(Fraction(), min(u0 + way, edge) - max(u0, below)) / way
        cost += share * sum(Fraction(price) * used[rate] for rate, price in prices.items())
        below = edge
    return cost


def slab(edges: Sequence[Fraction], u: Fraction) -> int:
    return next((n for n, edge in enumerate(edges) if u <= edge), len(edges))


def standing(story: Story, month: str, lines: dict[tuple[str, str, str], Fraction]) -> None:
    """Fixed charges and the minimum of a month."""
    first = date.fromisoformat(f"{month}-01")
    length = monthrange(first.year, first.month)[1]
    every = [first + n * DAY for n in range(length)]
    served = [d for d in every if (story.opened or d) <= d <= (story.last or d)]
    closed = [d for d in served if d in story.closed]
    for day in closed:
        version = version_on(story, day)
        fixed = version.get("fixed")
        if fixed is None:
            continue
        if "daily_yuan" in fixed:
            share = Fraction(fixed["daily_yuan"])
        else:
            fee = fixed.get("monthly_yuan")
            if fee is None:
                reached = slab(
                    bounds(story, version["ladder"], day), story.month_uses.get(month, Fraction())
                )
                fee = fixed["by_slab"][str(story.phases)][reached]
            is_thirtieth = fixed["proration"] == "thirtieth" and len(served) < length
            share = Fraction(fee) / (30 if is_thirtieth else length)
        lines[month, str(version["effective_from"]), "fixed"] += share
    if not served or len(closed) < len(served):
        return
    least = sum(
        (
            Fraction(version_on(story, d).get("minimum", {}).get("monthly_yuan", "0"))
            for d in served
        ),
        Fraction(),
    )
    known = sum(
        (yuan for (m, _, what), yuan in lines.items()
         if m == month and what in ("energy", "tier", "fixed")), Fraction()
    )  # fmt: skip
    if any("minimum" in version_on(story, d) for d in served):
        key = str(version_on(story, served[-1])["effective_from"])
        lines[month, key, "minimum"] += max(Fraction(), least / length - known)
