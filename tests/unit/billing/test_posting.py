"""Keys and legs of what is written into the ledger."""

from datetime import date

import pytest

from daemon.billing.links import Link, LinkInForce
from daemon.billing.posting import (
    Leg,
    UnfitPaymentKey,
    charge_key,
    charge_kind,
    charge_legs,
    payment_key,
    payment_legs,
)
from daemon.billing.settlement import Postings, PricedLink, Stream

MARCH, APRIL = Stream(date(2026, 3, 1), "energy"), Stream(date(2026, 4, 1), "energy")
SPAN = Link(1, date(2026, 3, 30), date(2026, 4, 2), 300)
PARTS = [
    Link(1, date(2026, 3, 30), date(2026, 4, 1), 100),
    Link(1, date(2026, 4, 1), date(2026, 4, 2), 200),
]
PREPAID = "customer:A1:prepaid"


def test_a_link_is_charged_under_its_days_and_revision() -> None:
    postings = Postings((PricedLink(SPAN, ()),), None, {APRIL: 10, MARCH: 5})
    assert charge_kind(postings) == "charge"
    assert (
        charge_key(postings, {SPAN.span: LinkInForce(7, 2, SPAN)}, "P1")
        == "chg:P1:2026-03-30:2026-04-02:2"
    )
    assert charge_legs(PREPAID, postings) == (
        Leg(PREPAID, -5, MARCH.period, "energy"),
        Leg("revenue:energy", 5, MARCH.period, "energy"),
        Leg(PREPAID, -10, APRIL.period, "energy"),
        Leg("revenue:energy", 10, APRIL.period, "energy"),
    )


def test_a_late_reading_trues_up_under_the_link_that_it_replaces() -> None:
    parts = tuple(PricedLink(link, ()) for link in PARTS)
    postings = Postings(parts, SPAN, {MARCH: -1, APRIL: 1})
    stored = {link.span: LinkInForce(8, 0, link) for link in PARTS}
    stored[SPAN.span] = LinkInForce(7, 1, SPAN)
    assert charge_kind(postings) == "true_up"
    assert charge_key(postings, stored, "P1") == "tru:P1:2026-03-30:2026-04-02:1"
    assert sum(leg.amount_fen for leg in charge_legs(PREPAID, postings)) == 0


def test_a_payment_goes_from_its_channel_to_the_customer() -> None:
    assert payment_key("bank", "17") == "pay:bank:17"
    assert payment_legs(PREPAID, "bank", 500) == (Leg(PREPAID, 500), Leg("clearing:bank", -500))


@pytest.mark.parametrize(
    ("channel", "reference", "part"),
    [
        ("", "1", "channel"),
        ("a:b", "1", "channel"),
        ("bank", "", "reference"),
        ("bank", "1:2", "reference"),
        ("bank", "1\n", "reference"),
    ],
)
def test_a_payment_whose_key_would_be_ambiguous_is_refused(
    channel: str, reference: str, part: str
) -> None:
    with pytest.raises(UnfitPaymentKey, match=f"the {part} of a payment") as refused:
        payment_key(channel, reference)
    assert refused.value.part == part
