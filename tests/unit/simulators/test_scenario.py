"""Scenario files: what they build, and how they are refused."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import simulators
from config.problems import ConfigError
from protocols.dlt645.frame import Frame
from simulators.bench.scenario import load_scenario, parse_scenario, site_clock
from simulators.bench.tables import FAULT_KINDS, FaultTable, FleetTable, LineTable, ModbusFleetTable
from simulators.dlt645.meter import SimulatedMeter
from tests.growth import growth

NOON = datetime(2026, 5, 2, 12)
SCENARIOS = Path(simulators.__file__).parent / "scenarios"
DOCS = Path(__file__).parents[3] / "docs" / "simulators.md"

TWO_LINES = """
zone = "Asia/Shanghai"
seed = 3
[lines.gate-1]
port = 0
reply_delay_ms = 0
[lines.bus-1]
link = "bus-1"
baud = 2400
"""


def build(text: str, now: datetime = NOON) -> dict[str, SimulatedMeter]:
    """All meters by address; they speak DL/T 645."""
    built: dict[str, SimulatedMeter] = {}
    for bus in parse_scenario(text).build(lambda: now).values():
        for address, meter in bus.meters.items():
            assert isinstance(meter, SimulatedMeter)
            built[address] = meter
    return built


def fleet(*keys: str) -> str:
    return "\n".join(
        [TWO_LINES, '[[meters]]\nline = "bus-1"\naddress = "000000009001"', *keys, GATE]
    )


GATE = '[[meters]]\nline = "gate-1"\naddress = "000000000001"\ncount = 5\n'


def test_a_fleet_counts_its_addresses_up() -> None:
    assert sorted(build(fleet())) == [f"{number:012d}" for number in (1, 2, 3, 4, 5, 9001)]


def test_a_range_gives_each_meter_its_own_value_and_always_the_same() -> None:
    ranges = "kwh_per_day = [2, 30]\ninitial_kwh = [100, 5000.5]\nclock_offset_s = [-30, 30]\ncount = 200"
    meters, again = build(fleet(ranges)), build(fleet(ranges), NOON + timedelta(days=9))
    fleet_meters = [meter for address, meter in meters.items() if address >= "000000009001"]
    daily = [meter.state.counter.curve.mwh_per_day for meter in fleet_meters]
    offsets = [meter.state.clock.shows(NOON) - NOON for meter in fleet_meters]
    initial = [meter.state.true_register(datetime(2024, 1, 1)) for meter in fleet_meters]
    assert 2_000_000 <= min(daily) < 4_000_000 < 28_000_000 < max(daily) <= 30_000_000
    assert (
        timedelta(seconds=-30)
        <= min(offsets)
        < timedelta(0)
        < max(offsets)
        <= timedelta(seconds=30)
    )
    assert (
        Decimal(100)
        <= min(initial)
        < Decimal(500)
        < Decimal(4500)
        < max(initial)
        <= Decimal("5000.5")
    )
    assert all(
        meter.state.true_register(NOON) == again[meter.address].state.true_register(NOON)
        for meter in fleet_meters
    )


def test_an_override_changes_one_meter_and_only_what_it_says() -> None:
    meters = build(
        fleet("tariffs = 0\ncount = 3")
        + '[overrides.000000009002]\nkwh_per_day = 0\npassword = "123456"'
    )
    assert [meters[f"00000000900{number}"].access.password for number in (1, 2, 3)] == [
        "000000",
        "123456",
        "000000",
    ]
    assert meters["000000009002"].state.counter.curve.mwh_per_day == 0
    assert meters["000000009002"].state.spec.tariffs == 0


def test_a_fault_of_every_third_meter() -> None:
    text = fleet(
        'faults = [{ kind = "lost_answer", every_meter = 3 }, { kind = "stuck_relay", every_meter = 2 }]\ncount = 6'
    )
    bus = parse_scenario(text).build(lambda: NOON)["bus-1"]
    silent = [int(address[-1]) for address in bus.meters if not bus.answer(Frame(address, 0x13))]
    stuck = [
        int(address[-1]) for address, meter in bus.meters.items() if meter.state.relay.is_stuck
    ]
    assert (silent, stuck) == ([3, 6], [2, 4, 6])


def test_every_key_of_a_meter_reaches_the_meter() -> None:
    meter = build(
        fleet(
            'kwh_per_day = 24\nshape = "flat"\ndaily_spread = 0\ninitial_kwh = 7.25\ninstalled = 2026-04-30',
            "tariffs = 0\nphases = 3\nvoltage_v = 230.5",
            "clock_offset_s = 60\ndrift_s_per_day = 0.5\nclock_set_on = 2026-05-01",
            'relay = "external"\nbutton = "auto"\ntrip_delay_s = 9\nkeep_power = true\nmeter_type = "money"',
            'level = "04"\npassword = "111222"\nremaining_yuan = -3.5',
            'skipped_freezes = [2026-05-02]\nempty_freeze = "ff"',
            "wrong_freezes = { 2026-05-01 = 480.5 }",
            'refused = ["0001ff00"]',
            "frame_limit = 40\nwake_up = 2\nreply_delay_ms = [500, 500]",
        )
    )["000000009001"]
    assert meter.state.true_register(datetime(2026, 5, 1)) == Decimal("31.25")
    assert (meter.state.spec.phases, meter.state.spec.voltage_v, meter.state.spec.tariffs) == (
        3,
        Decimal("230.5"),
        0,
    )
    assert meter.state.spec.wrong_freezes == {date(2026, 5, 1): Decimal("480.5")}
    assert meter.state.spec.refused == {"0001FF00"}
    assert meter.state.clock.shows(datetime(2026, 5, 1)) == datetime(2026, 5, 1, 0, 1)
    assert meter.state.clock.shows(datetime(2026, 5, 3)) == datetime(2026, 5, 3, 0, 1, 1)
    assert (
        meter.state.relay.kind.value,
        meter.state.relay.has_button,
        meter.state.relay.trip_delay,
    ) == (
        "external",
        False,
        timedelta(seconds=9),
    )
    assert (
        meter.state.relay.keeps_power,
        meter.state.spec.meter_type,
        meter.access.level,
        meter.access.password,
    ) == (
        True,
        2,
        "04",
        "111222",
    )
    assert (
        meter.state.spec.remaining_yuan,
        meter.state.spec.empty_freeze,
        meter.frame_limit,
        meter.wake_up,
    ) == (
        Decimal("-3.5"),
        "ff",
        40,
        2,
    )
    assert [freeze.stamp for freeze in meter.state.daily_freezes(NOON)] == [datetime(2026, 5, 1)]


def test_freezes_before_the_clock_was_set_are_remembered() -> None:
    meter = build(fleet("installed = 2026-01-01\nclock_set_on = 2026-05-01"))["000000009001"]
    assert len(list(meter.state.daily_freezes(NOON))) == 62


def test_each_mistake_is_told_with_its_line_and_a_hint() -> None:
    text = """\
zone = "Asia/Shangai"
sed = 3
seed = "x"
[lines.gate-1]
prot = 7001
[lines.gate-2]
port = 7002
reply_delay_ms = [80, 20]
[lines.gate-3]
port = 7002
[lines.gate-4]
port = 70000
link = "x"
[lines.gate-5]
port = 0
faults = [
    { kind = "echo" },
    { kind = "eco" },
]
[[meters]]
line = "gate3"
address = "12"
kwh_per_dy = 3
[[meters]]
line = "gate-5"
address = "000000000001"
count = 10
tariffs = 3
password = "geheim"
[[meters]]
line = "gatt-5"
address = "000000000001"
count = 10
[[meters]]
line = "gate-5"
address = "000000000010"
faults = [{ kind = "late", chnce = 1 }]
[[meters]]
line = "gate-5"
address = "000000000010"
[[meters]]
line = "gate-5"
address = "999999999998"
count = 2
[overrides.000000000001]
adress = "000000000002"
chance = true
voltage_v = true
"""
    with pytest.raises(ConfigError) as error:
        parse_scenario(text, "bench.toml")
    assert str(error.value).splitlines() == [
        "bench.toml:1: zone: 'Asia/Shangai' is no IANA time zone (such as Asia/Shanghai)",
        "bench.toml:2: sed: unknown key (did you mean seed?)",
        "bench.toml:3: seed: must be a whole number, not 'x'",
        "bench.toml:5: lines.gate-1.prot: unknown key (did you mean port?)",
        "bench.toml:8: lines.gate-2.reply_delay_ms: least 80 is above most 20",
        "bench.toml:10: lines.gate-3.port: 7002 is taken by line gate-2",
        "bench.toml:12: lines.gate-4.port: should be less than or equal to 65535, not 70000",
        "bench.toml:13: lines.gate-4.link: a line has a port or a link, not both",
        "bench.toml:18: lines.gate-5.faults.1.kind: 'eco' is none of lost_request, lost_answer, noise_before, "
        "noise_after, noise_instead, wrong_checksum, late, foreign, duplicate, split, echo, retained, stuck_relay "
        "(did you mean echo?)",
        "bench.toml:21: meters.0.line: there is no line 'gate3' (did you mean gate-3?)",
        "bench.toml:22: meters.0.address: must be 12 digits in quotes, not '12'",
        "bench.toml:23: meters.0.kwh_per_dy: unknown key (did you mean kwh_per_day?)",
        "bench.toml:28: meters.1.tariffs: should be 0 or 4, not 3",
        "bench.toml:29: meters.1.password: must be 6 digits in quotes, not 'geheim'",
        "bench.toml:31: meters.2.line: there is no line 'gatt-5' (did you mean gate-5?)",
        "bench.toml:32: meters.2.address: meter 000000000001 is also one of the [[meters]] in line 24",
        "bench.toml:36: meters.3.address: meter 000000000010 is also one of the [[meters]] in line 24",
        "bench.toml:37: meters.3.faults.0.chnce: unknown key (did you mean chance?)",
        "bench.toml:40: meters.4.address: meter 000000000010 is also one of the [[meters]] in line 24",
        "bench.toml:44: meters.5.count: 2 meters from 999999999998 on do not fit below 999999999999",
        "bench.toml:46: overrides.000000000001.adress: unknown key",
        "bench.toml:47: overrides.000000000001.chance: unknown key",
        "bench.toml:48: overrides.000000000001.voltage_v: must be a number, not True",
        "23 mistakes",
    ]


CROSS_MISTAKES = {
    "needs a port": TWO_LINES.replace("port = 0", "") + GATE,
    "a line has a port or a mqtt, not both": TWO_LINES.replace("port = 0", "port = 0\nmqtt = {}")
    + GATE,
    "a line has a port or a dial, not both": TWO_LINES.replace("port = 0", "port = 0\ndial = {}")
    + GATE,
    "must be { text": TWO_LINES.replace("port = 0", 'dial = { port = 1, registration = "REG" }')
    + GATE,
    "only a message over mqtt can be retained": TWO_LINES
    + 'faults = [{ kind = "retained" }]\n'
    + GATE,
    "7001 is taken by line a": '[lines.a]\nport = 7001\n[lines.b]\nport = 7001\nhost = "127.0.0.1"\n'
    + GATE,
    "lines.bus-1: has no meters": TWO_LINES + GATE,
    "there is no such meter": fleet() + "[overrides.000000000999]\nphases = 3",
    "stuck_relay is a fault of meters": TWO_LINES + 'faults = [{ kind = "stuck_relay" }]\n' + GATE,
    "lines: there are none": GATE,
    "meters: there are none": TWO_LINES,
    "meters: must be tables": 'meters = "many"\n' + TWO_LINES,
    "lines: must be tables": "lines = 3",
    "1: file: is no TOML": "a = = 3",
    "scenario.toml:3: file: is no TOML": "a = 1\n\nb = ",
}


@pytest.mark.parametrize("message", CROSS_MISTAKES)
def test_a_scenario_that_does_not_fit_together_is_refused(message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        parse_scenario(CROSS_MISTAKES[message])


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml:1: file: cannot be read: No such file"):
        load_scenario(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"zone = '\xff'")
    with pytest.raises(ConfigError, match="is not written in UTF-8"):
        load_scenario(tmp_path / "latin.toml")


def test_the_shipped_scenarios_are_good() -> None:
    shipped = sorted(SCENARIOS.glob("*.toml"))
    assert shipped
    for path in shipped:
        assert load_scenario(path).meter_count


def test_every_key_and_fault_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    fleets = {*FleetTable.model_fields, *ModbusFleetTable.model_fields}
    keys = {*LineTable.model_fields, *fleets, *FaultTable.model_fields, *FAULT_KINDS}
    assert {key for key in keys if f"`{key}`" not in text} == set()


def test_the_site_keeps_standard_time_all_year_and_never_goes_back() -> None:
    host = [
        datetime(2026, 7, 1, 12, tzinfo=UTC),
        datetime(2026, 7, 1, 11, tzinfo=UTC),
        datetime(2026, 12, 1, 12, tzinfo=UTC),
    ]
    now = site_clock(ZoneInfo("Europe/Berlin"), iter(host).__next__)
    assert [now(), now(), now()] == [
        datetime(2026, 7, 1, 13),
        datetime(2026, 7, 1, 13),
        datetime(2026, 12, 1, 13),
    ]


def test_eight_times_as_many_meters_cost_eight_times_as_much() -> None:
    def build_many(count: int) -> None:
        assert len(build(fleet(f"kwh_per_day = [2, 30]\ncount = {count}"))) == count + 5

    assert growth(build_many, 500, 4_000, rounds=5) < 2 * 8


def test_dates_in_a_scenario_are_dates() -> None:
    assert parse_scenario(fleet("installed = 2026-04-30")).fleets[0].installed == date(2026, 4, 30)
