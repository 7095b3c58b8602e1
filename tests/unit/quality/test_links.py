"""judgement.md section 7: links."""

from tests.unit.quality.point import Point, kwh


def test_a_link_is_the_advance_times_the_ratio_at_its_beginning() -> None:
    # R06, O03
    point = Point().ratio(1, "1000").values("100", "103.55")
    assert point.links() == [("1", "2", "3550", None)]


def test_the_ratio_of_a_link_is_not_that_of_its_end() -> None:
    point = Point().ratio(1, "10").ratio(2, "80").values(100, 105, 110)
    assert point.links() == [("1", "2", "50", None), ("2", "3", "400", None)]


def test_without_a_ratio_it_is_one() -> None:
    assert Point().values(100, 105).links() == [("1", "2", "5", None)]


def test_a_register_that_stands_still_is_no_rollover() -> None:
    assert Point().values(100, 100).links() == [("1", "2", "0", None)]


def test_a_rollover_adds_the_modulus() -> None:
    point = Point(modulus="10000", decimals=1).ratio(1, "80").values("9998.7", "3.1")
    assert point.links() == [("1", "2", "352", None)]


def test_a_product_is_exact_beyond_28_digits() -> None:
    point = Point(limit="999999", modulus="100000000", decimals=9)
    point.ratio(1, "1234567.123456789012").values("0", "99999.123456789")
    assert point.links()[0][2] == "123455630194.248311352739672002468"


def test_links_touch_over_skipped_and_missing_days() -> None:
    point = Point().values(100, 9000, None, 115)
    assert point.links() == [("1", "4", "15", None)]


def test_a_chain_that_waits_has_no_links() -> None:
    assert Point().values(100).links() == []


def test_an_exchange_splits_the_day() -> None:
    # R26, O08, J12
    point = Point().values(100, 105)
    point.exchange(point.midnight(2, hour=14), initial=kwh(3), final=kwh("108.40")).value(3, 5)
    assert point.links() == [
        ("1", "2", "5", None),
        ("2", "2 14:00", "3.4", None),
        ("2 14:00", "3", "2", None),
    ]


def test_each_meter_has_the_ratio_of_its_time() -> None:
    point = Point().ratio(1, "10").values(100, 105)
    at = point.midnight(2, hour=14)
    point.exchange(at, initial=kwh(0), final=kwh(106)).ratio(at, "80").value(3, 1)
    assert point.links() == [
        ("1", "2", "50", None),
        ("2", "2 14:00", "10", None),
        ("2 14:00", "3", "80", None),
    ]


def test_at_a_midnight_the_freeze_and_an_equal_document_are_no_link() -> None:
    # J14
    point = Point().values(5000, 5005, 0, 3)
    point.exchange(point.midnight(3), serial="A", initial=kwh(0), final=kwh(5007))
    assert point.links() == [
        ("1", "2", "5", None),
        ("2", "3 00:00", "2", None),
        ("3", "4", "3", None),
    ]


def test_at_a_midnight_a_difference_is_not_lost() -> None:
    point = Point(initial=kwh(0)).values(1, 3)
    assert point.links() == [("1 00:00", "1", "1", None), ("1", "2", "2", None)]


def test_a_lost_final_register_leaves_use_that_none_shows() -> None:
    # J13
    point = Point().values(100, 105)
    point.exchange(point.midnight(3, hour=14), initial=kwh(12)).value(4, 15)
    assert point.links() == [
        ("1", "2", "5", None),
        ("2", "3 14:00", None, "final_lost"),
        ("3 14:00", "4", "3", None),
    ]


def test_use_that_was_lost_is_told_once() -> None:
    point = Point().values(100, 105)
    point.exchange(point.midnight(3, hour=14)).values(15, 20, first=5)
    assert [it.held for it in point.verdict.links] == [None, "final_lost", "initial_lost", None]
    assert point.verdict.beside == ()


def test_a_lost_initial_register_leaves_use_that_none_shows() -> None:
    point = Point().values(100, 105)
    point.exchange(point.midnight(3, hour=14), final=kwh(107)).values(15, 20, first=5)
    assert point.links() == [
        ("1", "2", "5", None),
        ("2", "3 14:00", "2", None),
        ("3 14:00", "5", None, "initial_lost"),
        ("5", "6", "5", None),
    ]


def test_both_registers_lost_leave_two_links_that_touch() -> None:
    point = Point().values(100, 105)
    point.exchange(point.midnight(3, hour=14)).values(15, 20, first=5)
    assert point.links()[1:3] == [
        ("2", "3 14:00", None, "final_lost"),
        ("3 14:00", "5", None, "initial_lost"),
    ]


def test_the_first_meter_of_a_point_lost_nothing() -> None:
    assert Point().values(None, 105, 110).links() == [("2", "3", "5", None)]


def test_a_meter_that_was_never_read_leaves_links_that_touch() -> None:
    point = Point().values(100, 105)
    point.exchange(point.midnight(3), serial="B", initial=kwh(0), final=kwh(107))
    point.exchange(point.midnight(5), serial="C", initial=kwh(0)).value(6, 3)
    assert point.links()[1:] == [
        ("2", "3 00:00", "2", None),
        ("3 00:00", "5 00:00", None, "final_lost"),
        ("5 00:00", "6", "3", None),
    ]


def test_a_link_longer_than_seven_days_is_held() -> None:
    assert Point().values(100).value(8, 105).links() == [("1", "8", "5", None)]
    assert Point().values(100).value(9, 105).links() == [("1", "9", "5", "span")]


def test_a_link_with_a_change_of_ratio_inside_is_held() -> None:
    point = Point().ratio(1, "10").values(100, None, 110).ratio(2, "80")
    assert point.links() == [("1", "3", "100", "ratio")]


def test_a_register_at_the_change_splits_the_link() -> None:
    point = Point().ratio(1, "10").values(100, None, 110).ratio(2, "80", kwh(104))
    assert point.links() == [("1", "2 00:00", "40", None), ("2 00:00", "3", "480", None)]


def test_a_change_at_an_end_of_the_link_is_not_inside() -> None:
    point = Point().ratio(1, "10").values(100, 110, 115).ratio(2, "80")
    assert [held for *_, held in point.links()] == [None, None]


def test_a_ratio_told_again_is_no_change() -> None:
    point = Point().ratio(1, "10").values(100, None, 110).ratio(2, "10.0")
    assert point.links() == [("1", "3", "100", None)]


def test_a_gap_does_not_launder_a_spike() -> None:
    # J19
    point = Point(limit="10").values(100, 118, 120)
    assert point.links() == [("1", "3", "20", "spike")]


def test_a_spike_that_does_not_lead_to_the_end_holds_nothing() -> None:
    assert Point(limit="10").values(100, 500, 120).links() == [("1", "3", "20", None)]


def test_a_day_with_two_values_holds_nothing() -> None:
    point = Point(limit="10").values(100, 118, 120).value(2, "118.50", after_h=1)
    assert point.links() == [("1", "3", "20", None)]


def test_a_value_that_fails_by_itself_holds_nothing() -> None:
    point = Point(limit="10").values(100).value(2, 118, skew_s=420).value(3, 120)
    assert point.links() == [("1", "3", "20", None)]


def test_a_confirmed_end_is_not_held_for_a_spike() -> None:
    point = Point(limit="10").values(100, 118, 120).says("release", 3, 120)
    assert point.links() == [("1", "3", "20", None)]


def test_a_longer_span_is_named_first() -> None:
    point = Point().ratio(1, "10").ratio(4, "80").values(100).value(9, 105)
    assert point.links() == [("1", "9", "50", "span")]


def test_two_confirmed_values_that_contradict_one_another_bill_no_turn() -> None:
    point = Point().values(100, 110).closed(2)
    point.exchange(point.midnight(3), initial=kwh(0), final=kwh(90))
    assert point.links() == [("1", "2", "10", None), ("2", "3 00:00", None, "backward")]


def test_a_register_lost_at_the_midnight_of_the_first_freeze_loses_no_use() -> None:
    point = Point().values(5000, 5005, 0, 3)
    point.exchange(point.midnight(3), serial="A", final=kwh(5007))
    assert point.links() == [
        ("1", "2", "5", None),
        ("2", "3 00:00", "2", None),
        ("3", "4", "3", None),
    ]


def test_a_meter_that_was_exchanged_at_once_loses_no_use() -> None:
    point = Point(initial=kwh(5))
    point.exchange(point.midnight(1), serial="B", initial=kwh(0)).values(0, 3)
    assert point.links() == [("1", "2", "3", None)]


def test_a_ratios_register_is_shown_at_the_midnight_that_was_told() -> None:
    point = Point(zone="Europe/Berlin").standard().ratio(40, "40", kwh(1682))
    assert point.chain() == [("40 00:00", "1682")]
