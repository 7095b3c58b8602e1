"""What a window of new values comes to, against a model that searches every neighbour."""

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from daemon.quality.judgement import failing_rules
from daemon.quality.publication import Conflict, DecidedSlot, NewValue, publish
from daemon.quality.register import ChainPoint, Register

MODULUS = 1000
REGISTER = Register(MODULUS, Decimal(40))
FIRST = date(2026, 3, 1)
MINUTE = timedelta(minutes=1)
SKEWS = st.sampled_from([None, timedelta(0), 6 * MINUTE])


def on_day(number: int) -> date:
    return FIRST + timedelta(days=number)


def model(
    known: list[DecidedSlot], values: list[NewValue]
) -> tuple[list[DecidedSlot], list[Conflict]]:
    """The slots of a window and its conflicts, by searching the whole chain for every value."""
    slots = {slot.day: slot for slot in known}
    decided: list[DecidedSlot] = []
    conflicts: list[Conflict] = []
    for value in sorted(values, key=lambda value: value.day):
        if value.day in slots:
            if slots[value.day].total != value.total:
                conflicts.append(Conflict(slots[value.day], value.total))
            continue
        chain = [ChainPoint(s.day, s.total) for s in slots.values() if s.state == "published"]
        before = max((p for p in chain if p.day < value.day), default=None, key=lambda p: p.day)
        after = min((p for p in chain if p.day > value.day), default=None, key=lambda p: p.day)
        new = ChainPoint(value.day, value.total)
        reasons = failing_rules(
            new,
            value.rates,
            REGISTER,
            before=before,
            after=after,
            clock_skew=value.clock_skew,
        )
        slot = DecidedSlot(
            value.day,
            value.meter_id,
            value.total,
            "suspect" if reasons else "published",
            tuple(reasons),
        )
        slots[value.day] = slot
        decided.append(slot)
    return decided, conflicts


known_slots = st.lists(
    st.builds(
        DecidedSlot,
        day=st.integers(0, 20).map(on_day),
        meter_id=st.just(1),
        total=st.integers(0, 200),
        state=st.sampled_from(["published", "suspect"]),
    ),
    unique_by=lambda slot: slot.day,
)
new_values = st.lists(
    st.builds(
        NewValue,
        day=st.integers(0, 20).map(on_day),
        meter_id=st.integers(1, 2),
        total=st.integers(0, MODULUS),
        rates=st.sampled_from([(), (0, 1)]),
        clock_skew=SKEWS,
    )
    | st.integers(0, 20).map(lambda n: NewValue(on_day(n), 1, 10 * n)),
    max_size=25,
)


@given(known=known_slots, values=new_values)
def test_a_window_is_decided_as_by_searching_every_neighbour(
    known: list[DecidedSlot], values: list[NewValue]
) -> None:
    publication = publish(known, values, REGISTER)
    decided, conflicts = model(known, values)
    assert list(publication.decided) == decided
    assert list(publication.conflicts) == conflicts


def test_values_of_one_window_are_judged_against_each_other() -> None:
    values = [NewValue(on_day(n), 1, total) for n, total in ((2, 20), (0, 0), (1, 90))]
    publication = publish([], values, REGISTER)
    assert [(slot.day, slot.state, slot.reasons) for slot in publication.decided] == [
        (on_day(0), "published", ()),
        (on_day(1), "suspect", ("V08 spike",)),
        (on_day(2), "published", ()),
    ]
    assert publication.published_span == (on_day(0), on_day(2))


def test_a_second_value_of_a_day_is_a_conflict_unless_it_is_the_same() -> None:
    kept = DecidedSlot(on_day(0), 1, 5, "suspect", ("V07 backward",))
    values = [NewValue(on_day(0), 2, total) for total in (5, 6)]
    publication = publish([kept], values, REGISTER)
    assert publication.decided == ()
    assert publication.conflicts == (Conflict(kept, 6),)
    assert publication.published_span is None
