"""judgement.md section 5: the choice of the chain."""

from dataclasses import replace

from daemon.quality.judge import judge, judged_runs
from tests.unit.quality.point import Point, kwh


def test_the_third_value_against_a_wrong_one_withdraws_it() -> None:
    # J01
    point = Point().values(100, 105, 110, 115, 480, 125, 130)
    assert point.published() == {1: "100", 2: "105", 3: "110", 4: "115", 5: "480"}
    point.value(8, 135)
    assert point.published() == {
        1: "100", 2: "105", 3: "110", 4: "115", 6: "125", 7: "130", 8: "135",
    }  # fmt: skip


def test_n_wrong_values_need_one_more_against_them() -> None:
    wrong = (480, 485, 490, 495)
    point = Point().values(115, *wrong, 130, 135, 140)
    assert list(point.published()) == [1, 2, 3, 4, 5]
    # They are as many: of two equal chains the one with the earlier day.
    assert list(point.value(9, 145).published()) == [1, 2, 3, 4, 5]
    # The step over four days to the sixth is short enough, and five weigh more.
    assert list(point.value(10, 150).published()) == [1, 6, 7, 8, 9, 10]


def test_a_value_that_was_read_after_one_that_stands_against_it_is_late() -> None:
    # J09: one value suffices against it
    point = Point().values(100, None, 130, 135).value(2, 160, after_h=60)
    assert point.published() == {1: "100", 3: "130", 4: "135"}


def test_a_value_that_was_read_in_time_needs_three() -> None:
    point = Point().values(100, 160, 130, 135)
    assert point.published() == {1: "100", 2: "160"}


def test_late_is_by_the_time_of_reading_not_of_arrival() -> None:
    point = Point().values(100).value(3, 130, after_h=0.1).value(4, 135, after_h=0.1)
    assert point.value(2, 160, after_h=1).published() == {1: "100", 2: "160"}


def test_a_late_value_weighs_one() -> None:
    # 200 and 210 are late against 150, together 2, less than 3
    point = Point().values(100).value(4, 150)
    point.value(2, 200, after_h=80).value(3, 210, after_h=80)
    assert point.published() == {1: "100", 4: "150"}


def test_late_values_together_can_weigh_more() -> None:
    point = Point().values(100).value(6, 150)
    for number in (2, 3, 4, 5):
        point.value(number, 200 + number, after_h=200)
    assert list(point.published()) == [1, 2, 3, 4, 5]


def test_what_takes_no_part_makes_nothing_late() -> None:
    # 120 was read before 480 and stands against it, but contradicts what a person released
    point = Point().values(100, None, None, 485).says("release", 4, 485)
    point.value(5, 120).value(2, 480, after_h=100).value(3, 110, after_h=200)
    assert point.published() == {1: "100", 2: "480", 4: "485"}


def test_what_was_read_before_on_an_earlier_day_makes_nothing_late() -> None:
    point = Point().value(1, 100, after_h=0.1).values(105, 110, first=2)
    point.value(3, 90, after_h=1)
    assert point.published() == {1: "100", 2: "105", 3: "110"}


def test_a_second_read_doubles_the_weight() -> None:
    # Three against one: with a second read 480 weighs 6 of 9
    point = Point().values(115, 480, 125, 130, 135).value(2, 480, after_h=1)
    assert list(point.published()) == [1, 3, 4, 5]
    point.value(2, 480, after_h=2)
    assert list(point.published()) == [1, 3, 4, 5]
    # Two wrong ones that were read twice weigh 12, more than three.
    point = Point().values(115, 480, 485, 125, 130, 135)
    point.value(2, 480, after_h=1).value(3, 485, after_h=1)
    assert list(point.published()) == [1, 2, 3]


def test_a_spike_is_never_a_vote() -> None:
    # J21: 50000, 50005, 50010 do not disprove what was lower before
    point = Point().values(100, 105, 50000, 50005, 50010, 50015, 50020)
    assert point.published() == {1: "100", 2: "105"}


def test_a_false_0_near_the_modulus_is_outvoted() -> None:
    # It follows as a rollover, and the true values are spikes after it, half a turn behind.
    point = Point(modulus="10000", decimals=1, limit="120")
    point.values("9985", "9990", "0", "9991", "9992", "9993")
    assert list(point.published()) == [1, 2, 4, 5, 6]


def test_a_day_with_another_value_gives_way_to_the_heavier_chain() -> None:
    # 205 of the second day, or 110: only the lesser lets both later ones follow
    point = Point().values(100, 205, 115, 120).value(2, 110, after_h=1)
    assert point.published() == {1: "100", 2: "110", 3: "115", 4: "120"}


def test_a_day_with_another_value_may_be_skipped() -> None:
    point = Point().values(100, 205, 115, 120).value(2, 210, after_h=1)
    assert point.published() == {1: "100", 3: "115", 4: "120"}


def test_a_day_whose_other_value_fails_may_not_be_skipped() -> None:
    point = Point().values(100, 205, 115, 120).value(2, 210, after_h=1, skew_s=420)
    assert point.published() == {1: "100", 2: "205"}


def test_the_three_have_to_follow_one_another() -> None:
    point = Point().values(115, 480, 130, 125, 128)
    assert list(point.published()) == [1, 2]
    point = Point(limit="380").values(115, 480, 125, 130, 128)
    assert list(point.published()) == [1, 2]


def test_the_three_have_to_stand_against_it() -> None:
    # J16: 490 fits both and is no vote
    point = Point().values(115, 480, 125, 130, 490)
    assert list(point.published()) == [1, 2, 5]


def test_the_first_of_the_three_has_to_follow_what_was_before() -> None:
    # 90, 95 and 98 do not follow 115: they prove nothing about 480, and 130 and 135 are two
    point = Point().values(115, 480, 90, 95, 98, 130, 135)
    assert list(point.published()) == [1, 2]


def test_the_outvoted_one_has_to_follow_the_same_value() -> None:
    # From 115 the way to 600 is a spike; without votes it stays skipped all the same.
    point = Point().values(115, 600, 125, 130, 135)
    assert list(point.published()) == [1, 3, 4, 5]


def test_a_step_skips_what_does_not_follow_at_any_distance() -> None:
    # J11
    point = Point(limit="10").values(100).value(5, 99).value(20, 101)
    assert list(point.published()) == [1, 20]


def test_a_step_that_skips_a_value_that_follows_reaches_seven_days() -> None:
    point = Point().values(115, 480)
    for number in (8, 9, 10):
        point.value(number, 120 + number)
    assert list(point.published()) == [1, 8, 9, 10]


def test_a_step_that_skips_a_value_that_follows_reaches_no_eighth_day() -> None:
    # What stood for longer is a matter for a person.
    point = Point().values(115, 480)
    for number in (9, 10, 11):
        point.value(number, 120 + number)
    assert list(point.published()) == [1, 2]


def test_the_reach_of_a_step_is_a_setting() -> None:
    point = Point().values(115, 480, None, 125, 126, 127)
    assert len(judge(point.facts).chain) == 4
    assert len(judge(replace(point.facts, max_auto_span_days=2)).chain) == 2


def test_a_step_skips_no_confirmed_value() -> None:
    point = Point().values(115, 480).says("release", 2, 480).values(125, 130, 135, 481, first=3)
    assert list(point.published()) == [1, 2, 6]


def test_the_first_value_is_passed_over_when_it_is_outvoted() -> None:
    # J02
    assert list(Point().values(5000, 100, 105).published()) == []
    assert list(Point().values(5000, 100, 105, 110).published()) == [2, 3, 4]


def test_first_values_that_follow_one_another_are_not_passed_over() -> None:
    assert list(Point().values(5000, 5005, 100, 105, 110).published()) == [1, 2]


def test_first_values_that_follow_one_another_are_passed_over_when_late() -> None:
    point = Point().value(3, 100).value(4, 105).value(5, 110)
    point.value(1, 5000, after_h=200).value(2, 5005, after_h=200)
    assert list(point.published()) == [3, 4, 5]


def test_first_values_that_do_not_follow_one_another_are_passed_over() -> None:
    assert list(Point().values(5000, 4000, 100, 105, 110).published()) == [3, 4, 5]


def test_a_first_value_that_is_not_outvoted_is_not_passed_over() -> None:
    # 100 is the lower one: nothing stands against it
    assert list(Point().values(100, 5000, 5005, 5010, 5015).published()) == []


def test_the_first_value_is_passed_over_at_any_distance() -> None:
    point = Point(limit="10").value(1, 5000)
    for number in (30, 31, 32):
        point.value(number, 100 + number)
    assert list(point.published()) == [30, 31, 32]


def test_a_run_with_an_initial_register_starts_there() -> None:
    point = Point(initial=kwh(5000)).values(100, 105, 110, 115)
    assert list(point.published()) == []
    assert point.chain() == [("1 00:00", "5000")]


def test_a_confirmed_first_value_is_not_passed_over() -> None:
    point = Point().values(5000).says("release", 1, 5000).values(100, 105, 110, first=2)
    assert list(point.published()) == [1]


def test_of_two_equal_chains_the_one_with_the_earlier_day_is_chosen() -> None:
    # 200 or 210 of the next day: two candidates on each, either way weighs the same
    point = Point().values(100).value(2, 200).value(2, 190, after_h=1)
    point.value(3, 150).value(3, 145, after_h=1)
    assert list(point.published()) == [1, 2]


def test_of_two_equal_candidates_of_a_day_the_earlier_read_is_chosen() -> None:
    point = Point().values(100).value(2, 106, after_h=1).value(2, 107, after_h=2)
    assert point.published() == {1: "100", 2: "106"}
    point = Point().values(100).value(2, 106, after_h=2).value(2, 107, after_h=1)
    assert point.published() == {1: "100", 2: "107"}


def test_of_two_read_at_once_the_smaller_registers_are_chosen() -> None:
    point = Point().values(100).value(2, 107).value(2, 106, source="terminal")
    assert point.published() == {1: "100", 2: "106"}


def test_of_equal_totals_the_smaller_rates_are_chosen() -> None:
    point = Point().values(kwh(100, peak=50, valley=50)).value(2, kwh(104, peak=53, valley=51))
    point.value(2, kwh(104, peak=52, valley=52))
    (run,) = judged_runs(point.facts)
    assert run.values[run.chain[-1]].steps == (10400, 5200, 5200)


def test_the_heavier_of_two_candidates_of_a_day_is_chosen() -> None:
    point = Point().values(100).value(2, 106, after_h=1)
    point.value(2, 107, after_h=2).value(2, 107, after_h=3)
    assert point.published() == {1: "100", 2: "107"}


def test_one_unconfirmed_value_publishes_nothing() -> None:
    # V32
    point = Point().values(100)
    assert (point.codes(1), point.next_step(1), point.chain()) == (("V32",), "wait", [])


def test_two_values_publish_one_another() -> None:
    # J03
    assert Point().values(100, 100).published() == {1: "100", 2: "100"}


def test_with_an_initial_register_the_first_value_is_published() -> None:
    assert Point(initial=kwh(99)).values(100).published() == {1: "100"}


def test_with_a_final_register_the_only_value_is_published() -> None:
    point = Point().values(100)
    point.exchange(point.midnight(2), final=kwh(103))
    assert point.published() == {1: "100"}


def test_one_released_value_is_published() -> None:
    assert Point().values(100).says("release", 1, 100).published() == {1: "100"}


def test_nothing_at_all_is_judged_to_nothing() -> None:
    verdict = Point().verdict
    assert (verdict.days, verdict.chain, verdict.links) == ({}, (), ())
