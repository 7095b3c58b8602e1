"""Each kWh has its price: the lines come to what is charged."""

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given

from config.tariff_version import Fixed, Ladder, TariffVersion, Versions
from daemon.billing.explanation import DayUses, day_priced, month_now, slab_days, stream_changes
from daemon.billing.posting import Stream
from daemon.billing.pricing import (
    ENERGY,
    ONE_KWH,
    TIER,
    PriceLine,
    Terms,
    amounts,
    priced_uses,
    summed,
)
from daemon.billing.use import Use
from tests.database.small_site import ZONE
from tests.unit.billing.exact_account import Story
from tests.unit.billing.stories import stories
from tests.unit.billing.test_pricing import EXAMPLES, terms_of, uses_of

MARCH = date(2026, 3, 1)
SLAB = Terms(
    Versions(
        (
            TariffVersion(
                "S@1",
                date(2026, 1, 1),
                {},
                Ladder(
                    "month",
                    "slab",
                    (Decimal(10),),
                    (Decimal(1), Decimal(2)),
                    (),
                    "full",
                    Decimal(10),
                ),
            ),
        )
    )
)


def used(day: int, kwh: int) -> Use:
    start = datetime(2026, 3, day, tzinfo=UTC)
    return Use(MARCH, 0, {"total": kwh * ONE_KWH}, start)


@EXAMPLES
@given(stories)
def test_the_lines_of_a_component_come_to_what_is_charged(story: Story) -> None:
    terms = terms_of(story)
    uses = uses_of(story, terms)
    told: defaultdict[Stream, Fraction] = defaultdict(Fraction)
    for line in summed(line for it in priced_uses(terms, uses) for line in it.lines):
        told[Stream(line.month, line.component)] += line.yuan
    charged = amounts(terms, uses, ()).charged
    of_use = {it: yuan for it, yuan in charged.items() if it.component in (ENERGY, TIER) and yuan}
    assert {it: yuan for it, yuan in told.items() if yuan} == of_use


@EXAMPLES
@given(stories)
def test_the_last_day_brings_its_month_to_what_it_comes_to(story: Story) -> None:
    terms = terms_of(story)
    uses = uses_of(story, terms)
    days = sorted(story.use)
    if not days:
        return
    *earlier, last = sorted(uses, key=lambda it: it.start)
    split = DayUses(days[-1], date.max, earlier, [last], [*earlier, last], [*earlier, last])
    closed = {it for it in story.closed if it.replace(day=1) <= last.month}
    changes = stream_changes(terms, split, closed)
    assert [it.after for it in changes] == [it.now for it in changes]
    now = {it.stream: it.now for it in changes}
    assert now == {**dict.fromkeys(now, 0), **month_now(terms, uses, story.closed, last.month)}


def test_a_slab_that_is_reached_prices_all_days_and_names_its_day() -> None:
    first, second = used(1, 10), used(2, 1)
    before = summed(line for it in priced_uses(SLAB, [first]) for line in it.lines)
    assert [(it.price, it.kwh, it.is_whole) for it in before] == [(Decimal(1), Fraction(10), False)]
    priced = priced_uses(SLAB, [first, second])
    lines = summed(line for it in priced for line in it.lines)
    assert [(it.price, it.kwh, it.is_whole) for it in lines] == [(Decimal(2), Fraction(11), True)]
    assert slab_days(priced, ZONE) == {(MARCH, 1): date(2026, 3, 2)}


def test_the_day_that_reaches_a_slab_is_charged_for_the_days_before() -> None:
    first, second = used(1, 10), used(2, 1)
    both = [first, second]
    split = DayUses(date(2026, 3, 2), date(2026, 3, 3), [first], [second], both, both)
    (change,) = stream_changes(SLAB, split, ())
    assert (change.before, change.after, change.fen) == (Fraction(10), Fraction(22), 1200)
    (priced,) = day_priced(SLAB, split)
    assert (priced.before, priced.after) == (Fraction(10), Fraction(11))


def test_two_points_with_the_same_use_are_two_uses() -> None:
    both = [used(1, 6), used(1, 6)]
    split = DayUses(MARCH, date(2026, 3, 2), [], both, both, both)
    assert [it.after for it in day_priced(SLAB, split)] == [6, 12]
    (change,) = stream_changes(SLAB, split, ())
    assert change.after == 24


def test_a_slab_is_reached_on_one_day_whatever_follows() -> None:
    priced = priced_uses(SLAB, [used(1, 4), used(2, 4), used(3, 4), used(4, 4)])
    assert slab_days(priced, ZONE) == {(MARCH, 1): date(2026, 3, 3)}


def test_rates_without_a_total_to_split_cost_what_the_step_of_the_total_does() -> None:
    prices = (
        {"peak": Decimal(1), "valley": Decimal(2)},
        {"peak": Decimal(3), "valley": Decimal(4)},
    )
    ladder = Ladder("month", "matrix", (Decimal(10),), (), prices)
    terms = Terms(Versions((TariffVersion("M@1", date(2026, 1, 1), {}, ladder),)))
    registers = {"total": 0, "peak": ONE_KWH, "valley": -ONE_KWH}
    use = Use(MARCH, 0, registers, datetime(2026, 3, 1, tzinfo=UTC))
    lines = summed(line for it in priced_uses(terms, [use]) for line in it.lines)
    assert [(it.register, it.step, it.yuan) for it in lines] == [
        ("peak", 0, Fraction(1)),
        ("valley", 0, Fraction(-2)),
    ]
    charged = amounts(terms, [use], ()).charged
    assert charged[Stream(MARCH, ENERGY)] == Fraction(-1)


FEBRUARY = date(2026, 2, 1)
ADDER = Ladder("year", "adder", (Decimal(10),), (Decimal(0), Decimal("0.3")))
STEPS = Ladder("year", "price", (Decimal(10),), (Decimal(1), Decimal(3)))
MATRIX = Ladder(
    "year",
    "matrix",
    (Decimal(10),),
    matrix=(
        {"peak": Decimal(1), "valley": Decimal(2)},
        {"peak": Decimal(3), "valley": Decimal(4)},
    ),
)
BY_RATE = {"peak": Decimal("0.9"), "valley": Decimal("0.4")}


def terms(*told: tuple[dict[str, Decimal], Ladder | None], **more: Any) -> Terms:
    starts = (date(2026, 1, 1), date(2026, 3, 1))
    versions = [
        TariffVersion(f"V@{start}", start, energy, ladder)
        for start, (energy, ladder) in zip(starts, told, strict=False)
    ]
    return Terms(Versions(tuple(versions)), **more)


def use_of(day: date, version: int, **kwh: int) -> Use:
    registers = {name: it * ONE_KWH for name, it in kwh.items()}
    return Use(day.replace(day=1), version, registers, datetime.combine(day, time(), UTC))


def told_of(terms: Terms, *uses: Use) -> list[PriceLine]:
    return summed(line for it in priced_uses(terms, uses) for line in it.lines)


def line(
    component: str,
    register: str,
    step: int | None,
    price: str,
    kwh: int,
    *,
    month: date = FEBRUARY,
    version: int = 0,
    is_whole: bool = False,
) -> PriceLine:
    price_each = Decimal(price)
    return PriceLine(month, version, component, register, step, is_whole, price_each, Fraction(kwh))


def test_rates_and_what_a_step_adds_are_lines_by_themselves() -> None:
    of = terms((BY_RATE, ADDER))
    first = use_of(date(2026, 2, 1), 0, total=8, peak=6, valley=2)
    second = use_of(date(2026, 2, 9), 0, total=5, peak=1, valley=4)
    assert told_of(of, second, first) == [
        line("energy", "peak", None, "0.9", 7),
        line("energy", "valley", None, "0.4", 6),
        line("tier", "total", 0, "0", 10),
        line("tier", "total", 1, "0.3", 3),
    ]
    one, two = priced_uses(of, [second, first])
    assert one.use is first
    assert [one.before, one.after, *one.bounds] == [0, 8, 10]
    assert two.use is second
    assert [two.before, two.after, *two.bounds] == [8, 13, 10]


def test_steps_are_told_one_by_one_from_what_others_billed_on() -> None:
    of = terms(({}, STEPS), used_elsewhere={"2026": Decimal(7)})
    uses = [use_of(date(2026, 2, 1), 0, total=2), use_of(date(2026, 2, 2), 0, total=5)]
    assert told_of(of, *uses) == [
        line("energy", "total", 0, "1", 3),
        line("energy", "total", 1, "3", 4),
    ]
    one, two = priced_uses(of, uses)
    assert [one.before, one.after, two.before, two.after] == [7, 9, 9, 14]


def test_each_rate_of_a_matrix_is_split_as_the_total_is() -> None:
    use = use_of(date(2026, 2, 1), 0, total=20, peak=8, valley=12)
    assert told_of(terms(({}, MATRIX)), use) == [
        line("energy", "peak", 0, "1", 4),
        line("energy", "valley", 0, "2", 6),
        line("energy", "peak", 1, "3", 4),
        line("energy", "valley", 1, "4", 6),
    ]


def test_rates_without_a_total_are_at_the_step_where_the_cycle_stands() -> None:
    of = terms(({}, MATRIX), used_elsewhere={"2026": Decimal(11)})
    use = use_of(date(2026, 2, 1), 0, total=0, peak=-5, valley=5)
    assert told_of(of, use) == [
        line("energy", "peak", 1, "3", -5),
        line("energy", "valley", 1, "4", 5),
    ]


def test_the_first_use_of_a_month_tells_what_a_slab_makes_of_use_billed_elsewhere() -> None:
    slab = Ladder(
        "month", "slab", (Decimal(10),), (Decimal(1), Decimal(2)), whole_above_kwh=Decimal(10)
    )
    of = terms(({}, slab), used_elsewhere={"2026-02": Decimal(8)})
    first = use_of(date(2026, 2, 1), 0, total=1)
    second = use_of(date(2026, 2, 2), 0, total=4)
    # 13 kWh at the upper slab, and not at the lower one for the 8 that others billed.
    assert told_of(of, first, second) == [
        line("energy", "total", 0, "1", -8),
        line("energy", "total", 1, "2", 13, is_whole=True),
    ]
    assert told_of(of, first) == [line("energy", "total", 0, "1", 1)]


def test_a_ladder_starts_anew_beside_a_version_without_one() -> None:
    of = terms((BY_RATE, None), ({}, STEPS))
    uses = [
        use_of(date(2026, 3, 5), 1, total=12),
        use_of(date(2026, 2, 5), 0, total=9, peak=9, valley=0),
    ]
    assert told_of(of, *uses) == [
        line("energy", "peak", None, "0.9", 9),
        line("energy", "total", 0, "1", 10, month=MARCH, version=1),
        line("energy", "total", 1, "3", 2, month=MARCH, version=1),
    ]
    plain, _ = priced_uses(of, uses)
    assert [plain.before, plain.after, *plain.bounds] == [0, 0]


def test_lines_are_in_order_of_month_version_component_and_step() -> None:
    mixed = [
        line("tier", "total", 1, "1", 1),
        line("tier", "total", 0, "1", 1),
        line("energy", "total", 1, "1", 1, version=1),
        line("energy", "peak", None, "1", 1, month=MARCH),
        line("energy", "total", 0, "1", 1, version=1),
        line("energy", "total", None, "1", 1),
    ]
    ordered = [mixed[5], mixed[1], mixed[0], mixed[4], mixed[2], mixed[3]]
    assert summed(mixed) == ordered
    assert summed([*mixed, *(it._replace(kwh=-it.kwh) for it in mixed[:5])]) == [mixed[5]]
    assert line("energy", "peak", None, "0.5", 3).yuan == Fraction(3, 2)


def test_a_day_without_use_changes_the_fee_of_its_month() -> None:
    fee = Fixed(daily_yuan=Decimal("0.5"))
    of = Terms(Versions((TariffVersion("F@1", date(2026, 1, 1), {}, fixed=fee),)))
    closed = {MARCH + timedelta(days=number) for number in range(4)} | {date(2026, 2, 28)}
    second = MARCH + timedelta(days=1)
    day = DayUses(second, second + timedelta(days=1), [], [], [], [])
    (change,) = stream_changes(of, day, closed)
    fixed = Stream(MARCH, "fixed")
    assert (change.stream, change.before, change.after, change.now) == (
        fixed,
        Fraction(1, 2),
        Fraction(1),
        Fraction(2),
    )
    assert change.fen == 50
    assert month_now(of, [], closed, MARCH) == {fixed: Fraction(2)}


def test_streams_of_a_day_are_in_order_and_told_with_what_is_known_since() -> None:
    first, second, third = used(1, 4), used(2, 4), used(3, 4)
    april = Use(date(2026, 4, 1), 0, {"total": 99 * ONE_KWH}, datetime(2026, 4, 1, tzinfo=UTC))
    day = DayUses(
        date(2026, 3, 2),
        date(2026, 3, 3),
        [first],
        [second],
        [first, second],
        [first, second, third, april],
    )
    (change,) = stream_changes(SLAB, day, ())
    assert [change.before, change.after, change.now] == [4, 8, 24]


def test_the_day_of_a_slab_is_one_of_the_site() -> None:
    evening = used(2, 1)._replace(start=datetime(2026, 3, 1, 17, tzinfo=UTC))
    priced = priced_uses(SLAB, [used(1, 10), evening])
    assert slab_days(priced, ZoneInfo("Asia/Shanghai")) == {(MARCH, 1): date(2026, 3, 2)}
    assert slab_days(priced, ZoneInfo("UTC")) == {(MARCH, 1): date(2026, 3, 1)}


def test_each_slab_that_prices_the_month_is_named_by_its_number() -> None:
    prices = (Decimal(1), Decimal(2), Decimal(3))
    slab = Ladder("month", "slab", (Decimal(10), Decimal(20)), prices, whole_above_kwh=Decimal(0))
    of = terms(({}, slab))
    days = [use_of(date(2026, 2, day), 0, total=7) for day in (1, 2, 3)]
    assert slab_days(priced_uses(of, days[:1]), ZONE) == {}
    assert slab_days(priced_uses(of, days[:2]), ZONE) == {(FEBRUARY, 1): date(2026, 2, 2)}
    assert slab_days(priced_uses(of, days), ZONE) == {(FEBRUARY, 2): date(2026, 2, 3)}


def test_a_stream_that_the_day_begins_was_nothing_before() -> None:
    first = used(1, 4)
    day = DayUses(MARCH, date(2026, 3, 2), [], [first], [first], [first])
    (change,) = stream_changes(SLAB, day, ())
    assert [change.before, change.after, change.now] == [0, 4, 4]


def test_uses_that_hit_a_bound_or_are_stepped_reach_no_slab() -> None:
    prices = (Decimal(1), Decimal(2))
    slab = Ladder("month", "slab", (Decimal(10),), prices, whole_above_kwh=Decimal(10))
    of = terms((BY_RATE, ADDER), ({}, slab))
    march = [use_of(date(2026, 3, day), 1, total=kwh) for day, kwh in ((2, 6), (3, 4), (4, 5))]
    stepped = use_of(date(2026, 3, 1), 0, total=12, peak=6, valley=6)
    # The third of the month exactly hits the bound; the fourth goes on from there.
    assert slab_days(priced_uses(of, [stepped, *march]), ZONE) == {(MARCH, 1): date(2026, 3, 4)}
    assert slab_days(priced_uses(of, [stepped, *march[:2]]), ZONE) == {}
