"""Keys and legs of what is written into the ledger."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.posting import (
    MOST_PAYMENT_FEN,
    Leg,
    Stream,
    UnfitPaymentKey,
    account_of,
    charge_legs,
    payment_key,
    payment_legs,
    reversal_key,
)

MARCH, APRIL = Stream(date(2026, 3, 1), "energy"), Stream(date(2026, 4, 1), "energy")
PREPAID = "customer:A1:prepaid"


def test_a_charge_goes_from_the_customer_to_revenue_stream_by_stream() -> None:
    assert charge_legs(PREPAID, {APRIL: 10, MARCH: 5}) == (
        Leg(PREPAID, -5, MARCH.period, "energy"),
        Leg("revenue:energy", 5, MARCH.period, "energy"),
        Leg(PREPAID, -10, APRIL.period, "energy"),
        Leg("revenue:energy", 10, APRIL.period, "energy"),
    )


def test_an_adjustment_is_a_stream_of_an_open_month_about_a_closed_one() -> None:
    adjustment = MARCH.adjusted_in(APRIL.period)
    assert adjustment == Stream(APRIL.period, "adjustment:2026-03:energy")
    assert adjustment.about == MARCH
    assert MARCH.about == MARCH
    # The code of a surcharge may hold anything but what separates.
    fund = Stream(MARCH.period, "adjustment")
    assert fund.about == fund
    assert fund.adjusted_in(APRIL.period).about == fund


def test_an_adjustment_goes_to_the_account_of_its_component() -> None:
    adjustment = MARCH.adjusted_in(APRIL.period)
    assert charge_legs(PREPAID, {adjustment: 5}) == (
        Leg(PREPAID, -5, APRIL.period, "adjustment:2026-03:energy"),
        Leg("revenue:energy", 5, APRIL.period, "adjustment:2026-03:energy"),
    )


def test_what_takes_a_transaction_back_has_one_key() -> None:
    assert reversal_key(17) == "rev:17"


streams = st.builds(Stream, st.sampled_from([MARCH.period, APRIL.period]), st.text(min_size=1))
amounts = st.integers(-(2**62), 2**62).filter(bool)


@given(st.dictionaries(streams, amounts, min_size=1, max_size=6))
def test_legs_sum_to_zero_and_tell_each_stream_once(moved: dict[Stream, int]) -> None:
    legs = charge_legs(PREPAID, moved)
    assert sum(leg.amount_fen for leg in legs) == 0
    assert all(leg.amount_fen for leg in legs)
    theirs = {(leg.period, leg.component): leg.amount_fen for leg in legs if leg.account != PREPAID}
    assert theirs == moved
    of_customer = [leg for leg in legs if leg.account == PREPAID]
    assert {(leg.period, leg.component): -leg.amount_fen for leg in of_customer} == moved
    assert legs[0].account == PREPAID


@pytest.mark.parametrize(
    ("component", "account"),
    [
        ("energy", "revenue:energy"),
        ("tier", "revenue:tier"),
        ("fixed", "revenue:fixed"),
        ("minimum", "revenue:minimum"),
        ("compensation", "revenue:compensation"),
        ("tax", "payable:tax"),
        ("fund", "payable:surcharge:fund"),
    ],
)
def test_a_component_is_credited_to_its_account(component: str, account: str) -> None:
    assert account_of(component) == account


def test_a_payment_goes_from_its_channel_to_the_customer() -> None:
    assert payment_key("bank", "17") == "pay:bank:17"
    assert payment_legs(PREPAID, "bank", 500) == (
        Leg(PREPAID, 500, period=None, component=None),
        Leg("clearing:bank", -500, period=None, component=None),
    )


@pytest.mark.parametrize(
    ("channel", "reference", "part"),
    [
        ("", "1", "channel"),
        ("a:b", "1", "channel"),
        ("bank", "", "reference"),
        ("bank", "1:2", "reference"),
        ("bank", "1\n2", "reference"),
        ("bank", "   ", "reference"),
        ("bank", "1" * 201, "reference"),
        ("bank", "1\u200b", "reference"),
    ],
)
def test_a_payment_whose_key_would_be_ambiguous_is_refused(
    channel: str, reference: str, part: str
) -> None:
    with pytest.raises(UnfitPaymentKey) as refused:
        payment_key(channel, reference)
    assert refused.value.part == part
    unfit = channel if part == "channel" else reference
    assert str(refused.value) == (
        f"the {part} of a payment must be 1 to 200 printable characters without a colon: "
        f"{unfit[:40]!r}"
    )


def test_a_key_may_be_of_one_letter_and_of_200() -> None:
    assert payment_key("b", "x" * 200) == "pay:b:" + "x" * 200


def test_a_million_yuan_is_the_most_that_one_payment_is() -> None:
    assert MOST_PAYMENT_FEN == 1_000_000 * 100


def test_blanks_that_nobody_sees_make_no_second_payment() -> None:
    assert payment_key("bank", "R1 ") == payment_key(" bank", "\tR1\n") == "pay:bank:R1"
