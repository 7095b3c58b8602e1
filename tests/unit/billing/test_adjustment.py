from datetime import date
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.adjustment import into_open_period, with_adjustments
from daemon.billing.posting import Stream
from daemon.billing.pricing import postings, rounded_fen

MONTHS = [date(2026, month, 1) for month in range(1, 7)]
streams = st.builds(Stream, st.sampled_from(MONTHS), st.sampled_from(["energy", "fund"]))
charged = st.dictionaries(streams, st.integers(0, 10**7).map(lambda it: Fraction(it, 1000)))


def test_what_moves_in_a_closed_month_is_an_adjustment_of_the_current_one() -> None:
    january, march = Stream(MONTHS[0], "energy"), Stream(MONTHS[2], "energy")
    moved = into_open_period({january: -43, march: 7}, MONTHS[2], MONTHS[3])
    assert moved == {Stream(MONTHS[3], "adjustment:2026-01:energy"): -43, march: 7}


@given(st.lists(st.tuples(charged, st.integers(0, 5)), min_size=1, max_size=6))
def test_whatever_is_closed_when_the_total_over_all_time_is_the_same(
    told: list[tuple[dict[Stream, Fraction], int]],
) -> None:
    posted: dict[Stream, int] = {}
    open_from = 0
    for exact, closed in told:
        open_from = max(open_from, closed)
        before = dict(posted)
        moved = postings(exact, with_adjustments(posted))
        for stream, fen in into_open_period(moved, MONTHS[open_from], MONTHS[5]).items():
            posted[stream] = posted.get(stream, 0) + fen
        assert all(
            posted[stream] == fen
            for stream, fen in before.items()
            if stream.period < MONTHS[open_from]
        )
        rounded = {stream: rounded_fen(yuan) for stream, yuan in exact.items()}
        assert {stream: fen for stream, fen in with_adjustments(posted).items() if fen} == {
            stream: fen for stream, fen in rounded.items() if fen
        }
