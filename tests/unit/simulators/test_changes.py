"""What can be done to a bench while it runs, and what is true of its meters after it. No I/O."""

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from protocols.dlt645.frame import Frame
from simulators.bench.change_tables import change_of
from simulators.bench.changes import apply
from simulators.bench.scenario import parse_scenario
from simulators.bench.stage import BadRequest, Stage
from simulators.dlt645.demand import present_demand_mw
from simulators.lines.faults import Piece
from simulators.state.meter import MeterState

METER, OTHER, STRANGER = "000000000006", "000000000007", "000000000042"
NOON = datetime(2026, 5, 2, 12)
SCENARIO = f"""
[lines.gate]
port = 0
reply_delay_ms = 0
[lines.units]
port = 0
reply_delay_ms = 0
[[meters]]
line = "gate"
address = "{METER}"
count = 2
kwh_per_day = 24
daily_spread = 0
shape = "flat"
[[meters]]
line = "units"
protocol = "modbus"
profile = "eastron-sdm630"
unit = 1
relay = "none"
"""


class Wall:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **how_much: float) -> None:
        self.at += timedelta(**how_much)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def stage(wall: Wall) -> Stage:
    return Stage(parse_scenario(SCENARIO), wall)


def do(stage: Stage, name: str, **keys: Any) -> dict[str, Any]:
    return asyncio.run(apply(stage, change_of(name, keys)))


def heard(stage: Stage, address: str = METER, line: str = "gate") -> list[Piece]:
    """What comes back when a meter is asked for its address."""
    return stage.lines[line].bus.answer(Frame(address, 0x13))


def register(stage: Stage, at: datetime, address: str = METER) -> Decimal:
    return stage.meters[address].true_register(at)


def days(meter: MeterState, at: datetime) -> list[date]:
    return [freeze.stamp.date() for freeze in meter.daily_freezes(at)]


def test_a_fault_of_a_meter_comes_and_goes(stage: Stage) -> None:
    do(stage, "fault_on", address=METER, kind="lost_answer")
    assert heard(stage) == []
    assert heard(stage, OTHER)
    do(stage, "fault_off", address=METER, kind="noise_after")
    assert heard(stage) == []
    do(stage, "fault_off", address=METER, kind="lost_answer")
    assert heard(stage)


def test_a_fault_of_a_line_is_replaced_by_another_of_its_kind_and_goes_with_all(
    stage: Stage,
) -> None:
    do(stage, "fault_on", line="gate", kind="late", delay_ms=700)
    do(stage, "fault_on", line="gate", kind="late", delay_ms=900)
    do(stage, "fault_on", line="gate", kind="duplicate")
    assert [piece.after_ms for piece in heard(stage)] == [900, 900]
    do(stage, "fault_off", line="gate")
    assert [piece.after_ms for piece in heard(stage)] == [0]


def test_a_relay_that_is_stuck_stays_and_obeys_when_it_is_free(stage: Stage) -> None:
    do(stage, "fault_on", address=METER, kind="stuck_relay")
    assert do(stage, "force_relay", address=METER, state="open")["relay"] == "closed"
    do(stage, "fault_off", address=METER)
    assert do(stage, "force_relay", address=METER, state="open")["relay"] == "open"


def test_a_clock_is_moved_set_and_drifts_from_then_on(stage: Stage, wall: Wall) -> None:
    assert do(stage, "clock", address=METER, by_s=-400)["clock"] == "2026-05-02T11:53:20"
    set_ = do(stage, "clock", address=METER, set="2026-05-02T12:10:00")
    assert set_["clock"] == "2026-05-02T12:10:00"
    do(stage, "clock", address=METER, drift_s_per_day=86)
    assert stage.meters[METER].clock.shows(wall()) == NOON + timedelta(minutes=10)
    wall.pass_(days=1)
    drifted = wall() + timedelta(minutes=10, seconds=86)
    assert stage.meters[METER].clock.shows(wall()) == drifted


def test_what_was_frozen_before_a_drift_stays_where_it_was(stage: Stage, wall: Wall) -> None:
    meter = stage.meters[METER]
    before = [freeze.at for freeze in meter.daily_freezes(wall())]
    do(stage, "clock", address=METER, drift_s_per_day=600)
    wall.pass_(days=2)
    assert [freeze.at for freeze in meter.daily_freezes(wall())][2:] == before[:-2]


def test_a_register_is_set_and_jumps_and_yesterdays_freeze_is_what_it_was(
    stage: Stage, wall: Wall
) -> None:
    yesterday = wall() - timedelta(days=1)
    before = register(stage, yesterday)
    assert do(stage, "register", address=METER, set_kwh="500.25")["register"] == "500.25"
    assert do(stage, "register", address=METER, jump_kwh="-0.25")["register"] == "500.00"
    assert register(stage, yesterday) == before
    wall.pass_(hours=1)
    assert register(stage, wall()) == Decimal("501.00")


def test_the_rates_of_a_register_that_jumped_add_up_to_it(stage: Stage, wall: Wall) -> None:
    do(stage, "register", address=METER, jump_kwh="12345.67")
    total, *rates = stage.meters[METER].registers(wall())
    assert abs(total - sum(rates)) <= len(rates)


def test_a_register_that_jumps_is_no_power(stage: Stage, wall: Wall) -> None:
    wall.pass_(hours=1)
    before = present_demand_mw(stage.meters[METER], wall())
    do(stage, "register", address=METER, jump_kwh="1000")
    wall.pass_(minutes=1)
    assert present_demand_mw(stage.meters[METER], wall()) == before


def test_without_power_a_meter_is_silent_freezes_nothing_and_counts_nothing(
    stage: Stage, wall: Wall
) -> None:
    at_noon = register(stage, wall())
    assert do(stage, "power", address=METER, state="off")["power"] == "off"
    assert heard(stage) == []
    wall.pass_(hours=24)
    assert stage.meters[METER].power_mw(wall()) == 0
    do(stage, "power", address=METER, state="on")
    assert heard(stage)
    wall.pass_(hours=24)
    assert register(stage, wall()) == at_noon + 24
    assert days(stage.meters[METER], wall())[:2] == [date(2026, 5, 4), date(2026, 5, 2)]
    missed = [freeze.stamp for freeze in stage.meters[METER].midnights_without_power(wall())]
    assert missed == [datetime(2026, 5, 3)]


def test_an_outage_of_a_line_is_one_of_each_of_its_meters(stage: Stage) -> None:
    do(stage, "power", line="gate", state="off")
    assert [heard(stage), heard(stage, OTHER)] == [[], []]
    do(stage, "power", line="gate", state="on")
    assert all([heard(stage), heard(stage, OTHER)])


@pytest.mark.parametrize("first", ["relay", "power"])
def test_what_an_outage_and_an_open_relay_hold_back_is_held_back_once(
    stage: Stage, wall: Wall, first: str
) -> None:
    """Off, open an hour later, the first back after another hour, the second after one more."""
    at_noon = register(stage, wall())
    second = {"relay": "power", "power": "relay"}[first]
    switch: dict[str, Callable[[bool], object]] = {
        "relay": lambda is_on: do(
            stage, "force_relay", address=METER, state="closed" if is_on else "open"
        ),
        "power": lambda is_on: do(stage, "power", address=METER, state="on" if is_on else "off"),
    }
    for which, is_on in ((first, False), (second, False), (first, True), (second, True)):
        switch[which](is_on)
        wall.pass_(hours=1)
    assert register(stage, wall()) == at_noon + 1


def test_a_meter_comes_and_goes(stage: Stage, wall: Wall) -> None:
    assert heard(stage, STRANGER) == []
    do(stage, "add_meter", line="gate", address=STRANGER, kwh_per_day=[3, 4], wake_up=0)
    assert heard(stage, STRANGER)[0].data[:1] == b"\x68"
    do(stage, "remove_meter", address=STRANGER)
    assert heard(stage, STRANGER) == []
    do(stage, "add_meter", line="gate", address=STRANGER)
    assert heard(stage, STRANGER)


def test_a_unit_is_added_to_a_line_of_units(stage: Stage) -> None:
    do(stage, "add_meter", line="units", protocol="modbus", profile="eastron-sdm630", unit=9)
    assert set(stage.lines["units"].bus.units) == {1, 9}


def test_a_meter_and_a_line_think_longer(stage: Stage) -> None:
    do(stage, "reply_delay", line="gate", ms=250)
    do(stage, "reply_delay", address=OTHER, ms=[400, 400])
    assert [heard(stage)[0].after_ms, heard(stage, OTHER)[0].after_ms] == [250, 400]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("fault_on", {"kind": "late"}, "needs a line or an address"),
    ("fault_on", {"kind": "late", "line": "gate", "address": METER}, "and not both"),
    ("fault_on", {"kind": "lade", "line": "gate"}, r"kind: 'lade' is none of .* mean late"),
    ("fault_on", {"kind": "late", "line": "gate", "delay": 3}, r"delay: unknown key .* delay_ms"),
    ("fault_on", {"kind": "retained", "line": "gate"}, "only a message over mqtt"),
    ("fault_on", {"kind": "stuck_relay", "line": "gate"}, "name an address"),
    ("clock", {"address": METER}, "needs set, by_s or drift_s_per_day"),
    ("clock", {"address": METER, "set": "noon"}, "set: must be a time without zone"),
    ("clock", {"address": METER, "set": "2026-05-02T12:00:00Z"}, "without zone"),
    ("clock", {"address": METER, "drift_s_per_day": -86_401}, "drift_s_per_day"),
    ("register", {"address": METER}, "set_kwh or jump_kwh"),
    ("register", {"address": METER, "set_kwh": "-1"}, "set_kwh"),
    ("register", {"address": METER, "set_kwh": "much"}, "must be kWh below"),
    ("register", {"address": METER, "jump_kwh": "-999999"}, "cannot fall so far"),
    ("power", {"address": METER, "state": "dim"}, "'dim' is none of on, off"),
    ("power", {"line": "gatt", "state": "off"}, "line must be one of gate, units"),
    ("remove_meter", {"address": STRANGER}, "there is no meter with this address"),
    ("add_meter", {"line": "gate", "address": OTHER}, f"meter {OTHER} is there already"),
    ("add_meter", {"line": "gate", "address": "7"}, "address: must be 12 digits"),
    (
        "add_meter",
        {"line": "gate", "protocol": "modbus", "profile": "eastron-sdm630", "unit": 1},
        "began without Modbus",
    ),
    (
        "add_meter",
        {"line": "units", "protocol": "modbus", "profile": "none", "unit": 2},
        "none",
    ),
    ("exchange", {"address": METER, "serial": "12"}, "serial must be 12 digits"),
    ("force_relay", {"address": "units/1", "state": "open"}, "this meter has no relay"),
    ("dance", {}, "do must be one of"),
]


@pytest.mark.parametrize(("name", "keys", "told"), REFUSED)
def test_what_cannot_be_is_refused_in_words_and_changes_nothing(
    stage: Stage, name: str, keys: dict[str, Any], told: str
) -> None:
    with pytest.raises((BadRequest, ValueError), match=told):
        do(stage, name, **keys)
    assert heard(stage)[0].after_ms == 0
    assert set(stage.meters) == {METER, OTHER, "units/1"}
