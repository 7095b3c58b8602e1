"""F and what is posted of it, against the rules of money.md said a second time in the tests."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from config.tariff_form import read_version
from config.tariff_version import Versions
from daemon.billing.posting import Stream
from daemon.billing.pricing import (
    Amounts,
    Bonus,
    Terms,
    amounts,
    postings,
    rounded_fen,
)
from daemon.billing.use import USE_DECIMALS, Use, gathered
from tests.unit.billing.exact_account import Story, bill
from tests.unit.billing.stories import stories

EXAMPLES = settings(max_examples=80, deadline=None)


def decimal(kwh: Fraction) -> Decimal:
    return Decimal(kwh.numerator) / Decimal(kwh.denominator)


def terms_of(story: Story) -> Terms:
    versions = []
    for written in story.versions:
        version, mistakes = read_version(written, "T")
        assert version is not None, mistakes
        versions.append(version)
    return Terms(
        Versions(tuple(versions)),
        phases=story.phases,
        opened=story.opened,
        last_day=story.last,
        bonuses=tuple(Bonus(start, decimal(kwh)) for start, kwh in story.bonuses),
        used_elsewhere={cycle: decimal(kwh) for cycle, kwh in story.elsewhere.items()},
    )


def uses_of(story: Story, terms: Terms) -> list[Use]:
    uses = []
    for day, used in story.use.items():
        number = terms.versions.number_on(day)
        assert number is not None
        names = ("total", *terms.versions.all[number].rates)
        scaled = {name: used[name] * 10**USE_DECIMALS for name in names}
        registers = {name: int(kwh) for name, kwh in scaled.items()}
        uses.append(Use(day.replace(day=1), number, registers, datetime.combine(day, time(), UTC)))
    return uses


def priced(story: Story) -> Amounts:
    terms = terms_of(story)
    return amounts(terms, uses_of(story, terms), story.closed)


def by_name(found: Amounts) -> dict[tuple[str, str], Fraction]:
    return {
        (f"{stream.period:%Y-%m}", stream.component): yuan
        for stream, yuan in found.charged.items()
        if yuan
    }


@EXAMPLES
@given(stories)
def test_every_stream_is_exactly_what_the_rules_say(story: Story) -> None:
    expected = {name: yuan for name, yuan in bill(story).items() if yuan}
    assert by_name(priced(story)) == expected


@EXAMPLES
@given(stories)
def test_what_is_kept_of_the_uses_prices_as_all_of_them_do(story: Story) -> None:
    terms = terms_of(story)
    uses = uses_of(story, terms)
    kept = gathered(uses, terms.versions)
    assert len(kept) == len({(use.month, use.version) for use in uses})
    assert amounts(terms, kept, story.closed) == amounts(terms, uses, story.closed)


@EXAMPLES
@given(stories, st.randoms(use_true_random=False))
def test_whatever_the_order_of_arrival_the_same_is_posted(
    story: Story, chance: random.Random
) -> None:
    terms = terms_of(story)
    uses = uses_of(story, terms)
    whole = amounts(terms, uses, story.closed).charged
    arrivals = list(uses)
    chance.shuffle(arrivals)
    posted: dict[Stream, int] = {}
    for number in range(0, len(arrivals) + 20, 20):
        charged = amounts(terms, arrivals[:number], story.closed).charged
        for stream, fen in postings(charged, posted).items():
            posted[stream] = posted.get(stream, 0) + fen
            assert posted[stream] == rounded_fen(charged.get(stream, Fraction(0)))
    assert posted == {
        stream: rounded_fen(yuan) for stream, yuan in whole.items() if stream in posted
    }
    assert all(not rounded_fen(yuan) for stream, yuan in whole.items() if stream not in posted)


@EXAMPLES
@given(stories)
def test_more_use_in_order_of_time_never_gives_money_back(story: Story) -> None:
    """M8; a minimum is the exception, whose place use takes."""
    if any("minimum" in version for version in story.versions):
        return
    days = sorted(story.use)
    before: dict[tuple[str, str], Fraction] = {}
    for count in range(0, len(days) + 1, 7):
        some = {day: story.use[day] for day in days[:count]}
        now = by_name(priced(replace(story, use=some, bonuses=(), closed=())))
        assert all(yuan <= now.get(name, 0) for name, yuan in before.items())
        before = now


def test_a_stream_that_was_posted_wrong_is_mended_by_its_next_event() -> None:
    stream = Stream(date(2026, 3, 1), "energy")
    assert postings({stream: Fraction("10.005")}, {stream: 999}) == {stream: 2}
    assert postings({}, {stream: 7}) == {stream: -7}
    assert postings({stream: Fraction(1)}, {stream: 100}) == {}


@EXAMPLES
@given(stories, stories)
def test_a_version_that_is_entered_late_posts_the_difference(story: Story, other: Story) -> None:
    """Section 6: a decree with an earlier date re-rates what it reaches."""
    posted = {stream: rounded_fen(yuan) for stream, yuan in priced(story).charged.items()}
    late = priced(replace(story, versions=other.versions)).charged
    for stream, fen in postings(late, posted).items():
        posted[stream] = posted.get(stream, 0) + fen
    assert {stream: fen for stream, fen in posted.items() if fen} == {
        stream: rounded_fen(yuan) for stream, yuan in late.items() if rounded_fen(yuan)
    }


def test_an_account_is_of_one_phase_unless_it_is_said() -> None:
    fees = {"1": ["6", "9"], "3": ["12", "18"]}
    slab = {"cycle": "month", "method": "price", "bounds_kwh": ["9"], "prices": ["1", "2"]}
    version, _ = read_version(
        {"effective_from": "2026-01-01", "ladder": slab, "fixed": {"by_slab": fees}}, "T"
    )
    assert version is not None
    march = Stream(date(2026, 3, 1), "fixed")
    day = [date(2026, 3, 1)]
    assert amounts(Terms(Versions((version,))), [], day).charged[march] == Fraction(6, 31)
