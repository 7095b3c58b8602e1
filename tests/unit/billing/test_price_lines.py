"""Each kWh has its price: the lines come to what is charged."""

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

from hypothesis import given

from config.tariff_version import Ladder, TariffVersion, Versions
from daemon.billing.explanation import DayUses, day_priced, month_now, slab_days, stream_changes
from daemon.billing.posting import Stream
from daemon.billing.price_lines import priced_uses, summed
from daemon.billing.pricing import ENERGY, ONE_KWH, TIER, Terms, amounts
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
