"""judgement.md sections 4.1 and 4.3: what a person said is not outvoted."""

from tests.unit.quality.point import Point, day, kwh


def test_a_released_value_stays_in_the_chain_against_three() -> None:
    # J18
    point = Point().values(100, 105, 480).says("release", 3, 480).values(115, 120, 125, first=4)
    assert point.published() == {1: "100", 2: "105", 3: "480"}


def test_a_value_that_a_closing_named_stays_in_the_chain_against_three() -> None:
    point = Point().values(100, 105, 480).closed(3).values(115, 120, 125, first=4)
    assert point.published() == {1: "100", 2: "105", 3: "480"}
    assert point.codes(4) == ("V07", "V35", "V36")


def test_a_closing_names_what_was_published_and_nothing_else() -> None:
    point = Point().values(100, 105, 9105).closed(3)
    ((first, second),) = [it.published for it in point.facts.closings]
    assert (first[1], second[1]) == (kwh(100), kwh(105))


def test_a_closing_ends_with_its_day() -> None:
    point = Point().values(100, 105, 110).closed(2)
    assert [len(it.published) for it in point.facts.closings] == [2]


def test_an_initial_register_begins_the_chain() -> None:
    point = Point(initial=kwh(200)).values(100, 105, 110, 115)
    assert point.chain() == [("1 00:00", "200")]
    assert point.codes(2) == ("V07", "V35", "V36")


def test_a_final_register_ends_the_chain() -> None:
    point = Point().values(100, 105, 480)
    point.exchange(point.midnight(4), initial=kwh(0), final=kwh(115))
    assert point.published() == {1: "100", 2: "105"}
    assert point.codes(3) == ("V27", "V31", "V35")


def test_a_register_at_a_change_of_ratio_is_in_the_chain() -> None:
    point = Point().values(100, 105, None, 115).ratio(3, "10", kwh(110))
    assert ("3 00:00", "110") in point.chain()


def test_a_value_below_a_confirmed_one_before_it_is_v35() -> None:
    point = Point().values(100, 105, 110, 104).says("release", 3, 110)
    assert point.codes(4) == ("V07", "V35")
    assert point.next_step(4) == "person"


def test_a_value_above_a_confirmed_one_behind_it_is_v35() -> None:
    point = Point().values(100, None, 115).says("release", 3, 115).value(2, 480, after_h=40)
    assert point.codes(2) == ("V27", "V31", "V35")
    assert point.next_step(2) == "person"


def test_a_spike_after_a_confirmed_value_is_no_v35() -> None:
    point = Point().values(100, 105, 9000).says("release", 2, 105)
    assert point.codes(3) == ("V08",)


def test_what_contradicts_a_person_has_no_vote() -> None:
    # 120 would be the third value against 480
    point = Point().values(100, 480, 110, 115, 485).says("release", 5, 485).value(6, 120)
    assert point.published() == {1: "100", 2: "480", 5: "485"}
    assert point.codes(6) == ("V07", "V35")


def test_other_candidates_of_a_confirmed_day_take_no_part() -> None:
    point = Point().values(100, 105, 110).value(2, 480, after_h=1).says("release", 2, 105)
    assert point.published() == {1: "100", 2: "105", 3: "110"}
    point = Point().values(100, 105, 490).value(2, 200, after_h=1).says("release", 2, 200)
    assert point.published() == {1: "100", 2: "200", 3: "490"}


def test_the_last_release_of_a_day_counts() -> None:
    point = Point().values(100, 105).value(2, 106, after_h=1)
    point.says("release", 2, 105).says("release", 2, 106)
    assert point.published() == {1: "100", 2: "106"}


def test_a_lower_limit_takes_back_neither_closed_nor_released_values() -> None:
    # 7.5
    point = Point().values(100, 300, 500, 700).closed(2).says("release", 3, 500)
    point.max_daily(1, "10", rev=1)
    assert point.published() == {1: "100", 2: "300", 3: "500"}


def test_a_clock_finding_takes_back_no_closed_value() -> None:
    point = Point().values(100, 105, 110).closed(2).clock(1, 3, 420)
    assert point.published() == {1: "100", 2: "105"}


def test_a_release_that_became_a_value_of_another_meter_is_none() -> None:
    point = Point().values(100).value(2, 105, serial="A").says("release", 2, 105)
    point.exchange(point.midnight(2), serial="B", initial=kwh(0), final=kwh(104))
    assert point.codes(2) == ("V03",)


def test_far_from_a_confirmed_value_the_way_between_tells() -> None:
    """A register that moved a quarter turn since the closing does not contradict it for ever."""
    point = Point(modulus="10000", decimals=0, limit="120").values(9000).closed(1)
    point.values(*((9000 + 100 * n) % 10_000 for n in range(60)))
    assert len(point.published()) == 60


def test_far_before_a_confirmed_value_the_way_between_tells() -> None:
    point = Point(modulus="10000", decimals=0, limit="120")
    point.values(*((9000 + 100 * n) % 10_000 for n in range(60))).says("release", 60, 4900)
    assert len(point.published()) == 60


def test_a_step_back_far_from_a_confirmed_value_contradicts_it() -> None:
    point = Point(modulus="10000", decimals=1, limit="300").values(5000, 5004).closed(2)
    point.value(42, 5003).value(43, 5007)
    assert point.published() == {1: "5000", 2: "5004", 43: "5007"}
    assert point.codes(42) == ("V07", "V35")


# --- substitutes ----------------------------------------------------------------------------------


def test_a_substitute_stands_where_no_reading_is() -> None:
    # R13, S4
    point = Point().values(100, None, 110).says("substitute", 2, 105, method="S4")
    assert point.shows(2) == ("substituted", "105")
    assert (point.codes(2), point.next_step(2)) == ((), None)


def test_a_substitute_is_no_reading() -> None:
    point = Point().values(100, None, 110).says("substitute", 2, 105)
    assert point.chain() == [("1", "100"), ("3", "110")]
    assert point.links() == [("1", "3", "10", None)]


def test_a_substitute_stands_where_a_reading_was_not_chosen() -> None:
    point = Point().values(100, 9105, 110).says("substitute", 2, 105)
    assert point.shows(2) == ("substituted", "105")


def test_a_genuine_value_takes_its_place() -> None:
    # Q5
    point = Point().values(100, None, 120).says("substitute", 2, "118.10")
    assert point.value(2, "117.95", after_h=40).published() == {1: "100", 2: "117.95", 3: "120"}


def test_a_substitute_below_the_chain_before_it_is_suspect() -> None:
    point = Point().values(100, 105, None, 110).says("substitute", 3, "104.99")
    assert (point.codes(3), point.next_step(3)) == (("V07",), "person")


def test_a_substitute_above_the_chain_behind_it_is_suspect() -> None:
    point = Point().values(100, None, 110).says("substitute", 2, "110.01")
    assert (point.codes(2), point.next_step(2)) == (("V27",), "person")


def test_a_substitute_between_has_no_other_bound() -> None:
    point = Point().values(100, None, 110).says("substitute", 2, 110)
    assert point.shows(2)[0] == "substituted"


def test_a_substitute_may_turn_over() -> None:
    point = Point(modulus="10000").values(9998, None, 4).says("substitute", 2, 1)
    assert point.shows(2)[0] == "substituted"


def test_a_substitute_far_above_the_chain_before_it_is_not_below_it() -> None:
    point = Point().values(0, 6).says("substitute", 3, 600000)
    assert point.shows(3)[0] == "substituted"


def test_a_substitute_turns_over_only_within_the_limit() -> None:
    point = Point(modulus="10000", limit="10").values(9990, 9998).says("substitute", 3, 4000)
    assert point.codes(3) == ("V07",)


def test_a_substitute_is_held_against_the_total_alone() -> None:
    point = Point().values(kwh(100, peak=100), kwh(105, peak=105)).says("substitute", 3, 106)
    assert point.shows(3)[0] == "substituted"


def test_an_unconfirmed_value_disproves_no_substitute() -> None:
    point = Point().values(5000).says("substitute", 2, 100)
    assert point.shows(2)[0] == "substituted"


def test_a_substitute_that_the_register_cannot_show_is_v06() -> None:
    assert Point().values(100, 105).says("substitute", 3, "110.001").codes(3) == ("V06",)


def test_the_last_substitute_of_a_day_counts() -> None:
    point = Point().values(100, None, 110).says("substitute", 2, 104).says("substitute", 2, 106)
    assert point.shows(2) == ("substituted", "106")


def test_a_substitute_that_is_withdrawn_stands_no_longer() -> None:
    point = Point().values(100, None, 110).says("substitute", 2, 105).says("withdraw", 2, 105)
    assert day(2) not in point.verdict.days
