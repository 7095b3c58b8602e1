"""Policies as they are written: from a shipped one on, with the days of a country."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from config.calendars import country_days
from config.policies import shipped_policies
from config.settings import ControlSection, PolicySection
from daemon.control.guard import Policy
from daemon.site.assembly import policies_of, site_policy_of

QUARTER = timedelta(minutes=15)


def control(**keys: Any) -> ControlSection:
    return ControlSection.model_validate(keys)


def test_what_is_shipped_is_as_control_md_says() -> None:
    strict = Policy(min_debt_fen=500, startup_hold=QUARTER, max_relay_age=timedelta(hours=36))
    assert site_policy_of(ControlSection()) == strict
    known = policies_of(ControlSection())
    assert set(known) == {"cn_strict", "cn_large", "prepay_contract", "uk_like"}
    assert known["cn_strict"] == strict
    assert known["cn_large"].approvals_required == 2
    contract = known["prepay_contract"]
    assert (contract.window_start, contract.window_end) == (time(9), time(17))
    assert (contract.working_days_only, contract.no_trip_on_eve) == (False, True)
    assert (contract.written_required, contract.final_required) == (False, True)
    assert (contract.final_min, contract.final_max) == (2 * QUARTER, timedelta(hours=24))
    assert (contract.approvals_required, contract.approvals_of_several) == (0, 1)
    british = known["uk_like"]
    assert (british.window_start, british.window_end) == (time(10), time(16))
    assert british.written_min == timedelta(days=28)
    assert (british.final_required, british.approvals_required) == (False, 1)


def test_every_shipped_policy_says_everything_but_what_is_the_sites() -> None:
    keys = set(shipped_policies()["cn_strict"])
    for name, policy in shipped_policies().items():
        optional = {"written_notice_min_h", "written_notice_max_h", "final_notice_min_min"}
        assert keys - set(policy) <= optional | {"final_notice_max_h"}, name


def test_what_is_written_counts_more_than_the_profile() -> None:
    policy = site_policy_of(control(profile="prepay_contract", window_end="12:00"))
    assert (policy.window_end, policy.approvals_required) == (time(12), 0)


@pytest.mark.parametrize(("mode", "least"), [("manual", 1), ("assisted", 1), ("auto", 0)])
def test_by_hand_every_cut_is_approved(mode: str, least: int) -> None:
    lax = PolicySection.model_validate({"name": "n", "profile": "prepay_contract", "mode": mode})
    assert policies_of(ControlSection(), [lax])["n"].approvals_required == least
    two = PolicySection.model_validate({"name": "n", "approvals_required": 2, "mode": mode})
    assert policies_of(ControlSection(), [two])["n"].approvals_required == 2


@pytest.mark.parametrize(("mode", "least"), [("manual", 1), ("assisted", 1), ("auto", 0)])
def test_where_the_site_approves_every_cut_no_policy_of_an_account_cuts_without(
    mode: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTROL_PASSWORD", "000000")
    known = policies_of(control(mode=mode, password={"env": "CONTROL_PASSWORD"}))
    assert known["prepay_contract"].approvals_required == least
    assert known["cn_large"].approvals_required == 2


def test_the_days_off_of_the_site_are_those_of_every_policy() -> None:
    """Who is cut by the stricter policy for shops is not cut on a holiday for it."""
    fair, bazaar, worked = date(2026, 3, 11), date(2026, 3, 12), date(2026, 3, 14)
    market = PolicySection.model_validate(
        {"name": "market", "holidays": [worked], "makeup_workdays": [fair]}
    )
    site = control(holidays=[fair, bazaar], makeup_workdays=[worked])
    known = policies_of(site, [market])
    assert known["cn_large"].holidays == {fair, bazaar}
    assert known["cn_large"].makeup_workdays == {worked}
    # What a policy says of a day counts for its accounts.
    assert known["market"].holidays == {bazaar, worked}
    assert known["market"].makeup_workdays == {fair}
    new_year = date(datetime.now(UTC).year, 1, 1)
    assert not policies_of(control(calendar="CN"))["cn_large"].is_working_day(new_year)


def test_a_policy_in_shadow_mode_only_tells() -> None:
    shadow = PolicySection.model_validate({"name": "n", "mode": "shadow"})
    known = policies_of(ControlSection(), [shadow])
    assert (known["n"].shadow, known["cn_strict"].shadow) == (True, False)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"profile": "lax"}, "no policy 'lax' is shipped: write one of cn_large, cn_strict"),
        ({"profile": ["cn_strict"]}, "write one of"),
        ({"calendar": "XX"}, "no holidays are known of 'XX'"),
        ({"window_start": "15:00"}, "window_start must be before window_end"),
        ({"mode": "manual"}, 'mode = "manual" needs the meters\' control password'),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        control(**keys)


def test_china_has_its_days_off_and_the_weekends_that_are_worked_for_them() -> None:
    off, worked = country_days("CN", [2026])
    assert {date(2026, 2, 16), date(2026, 2, 23), date(2026, 10, 7)} <= off
    assert worked == {
        date(2026, month, day)
        for month, day in ((1, 4), (2, 14), (2, 28), (5, 9), (9, 20), (10, 10))
    }
    assert not off & worked


def test_the_site_knows_better_than_the_library() -> None:
    new_year = date(datetime.now(UTC).year, 1, 1)
    fair = date(new_year.year, 3, 11)
    policy = site_policy_of(control(calendar="CN", makeup_workdays=[new_year], holidays=[fair]))
    assert new_year not in policy.holidays
    assert new_year in policy.makeup_workdays
    assert fair in policy.holidays
    worked = min(site_policy_of(control(calendar="CN")).makeup_workdays)
    overruled = site_policy_of(control(calendar="CN", holidays=[worked]))
    assert worked not in overruled.makeup_workdays
    assert worked in overruled.holidays


def test_a_year_that_is_not_announced_has_no_makeup_workdays() -> None:
    off, worked = country_days("CN", [2060])
    assert date(2060, 10, 1) in off
    assert worked == frozenset()
