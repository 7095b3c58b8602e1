"""Payloads: our own form against its JSON Schema, and what other families' messages mean."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FrameError
from protocols.mqtt.events import (
    Answered,
    Echoed,
    Event,
    FreezeReport,
    IdentityReport,
    PresenceReport,
    RegisterReport,
    RelayReport,
)
from protocols.mqtt.messages import decode_down, decode_up, json_schema
from protocols.mqtt.own import OwnForm
from protocols.mqtt.shelly import Shelly
from protocols.mqtt.state_grid import StateGrid
from protocols.mqtt.tasmota import Tasmota
from protocols.mqtt.transparent import unwrap, wrap
from protocols.mqtt.zigbee2mqtt import Zigbee2Mqtt
from protocols.reading import Quantity
from tests.examples import examples

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = json.loads((DOCS / "mqtt.schema.json").read_text(encoding="utf-8"))
METER = "000000001600"
EXPIRES = datetime(2026, 5, 2, 0, 10, tzinfo=UTC)
COMMAND = UUID("7f3a0000-0000-4000-8000-000000000001")
OWN = OwnForm("meterd", "gw-1")
TASMOTA = Tasmota(["plug-1"])
SHELLY = Shelly(["shellypro3em-1"], "meterd-1")
SWITCH = Shelly(["shellyplus1pm-1"], "meterd-1", "switch:0")
TTU = StateGrid("meterd", ["SupWh", "SupWh1"], {"PhV_phsA": Quantity.VOLTAGE}, ["collector"])

FREEZE = {
    "v": 1,
    "type": "daily_freeze",
    "meter": METER,
    "frozen_at": "2026-05-02T00:00:00",
    "read_at": "2026-05-02T00:06:11+08:00",
    "registers": ["1234.56", "300.10", None],
    "clock_skew_s": -3,
}
ANSWER = {"v": 1, "type": "answer", "token": "t-1", "meter": METER, "outcome": "accepted"}
READ = {
    "v": 1,
    "type": "read",
    "token": "t-1",
    "meter": METER,
    "what": "daily_freeze",
    "day": "2026-05-01",
    "expires": "2026-05-02T00:10:00Z",
}
ORDER = {
    "v": 1,
    "type": "command",
    "token": "t-1",
    "id": str(COMMAND),
    "meter": METER,
    "action": "trip",
    "expires": "2026-05-02T00:10:00Z",
}
GOOD = [
    FREEZE,
    {**FREEZE, "clock_skew_s": None},
    {key: value for key, value in FREEZE.items() if key != "clock_skew_s"},
    {**FREEZE, "registers": ["0"]},
    ANSWER,
    {**ANSWER, "outcome": "refused", "reason": "keep power"},
    {**ANSWER, "outcome": "ok", "relay": {"open": True, "command_open": None}},
    {**ANSWER, "outcome": "ok", "registers": ["1.5", None]},
    {
        **ANSWER,
        "outcome": "ok",
        "daily_freeze": {"frozen_at": "2026-05-01T00:00:00", "registers": ["1.00"]},
    },
    {"v": 1, "type": "status", "online": False},
    {"v": 1, "type": "echo", "token": "x"},
    READ,
    {**READ, "what": "relay", "day": None},
    ORDER,
    {**ORDER, "action": "allow_close"},
    {**FREEZE, "serial": "2026-0042"},
    {**ANSWER, "outcome": "ok", "identity": {"serial": "2026-0042", "prepayment": "money"}},
    {**READ, "what": "identity", "day": None},
]
BAD = [
    (
        {**FREEZE, "registers": [1234.56]},
        r"Expected `str \| null`, got `float` - at `\$\.registers\[0\]`",
    ),
    ({**FREEZE, "registers": [1234]}, "got `int`"),
    ({**FREEZE, "registers": []}, "length >= 1"),
    ({**FREEZE, "registers": ["-1.00"]}, "matching regex"),
    ({**FREEZE, "registers": ["1e3"]}, "matching regex"),
    ({**FREEZE, "registers": ["1,5"]}, "matching regex"),
    ({**FREEZE, "registers": ["0.12345"]}, "matching regex"),
    ({**FREEZE, "meter": "1600"}, r"\$\.meter"),
    ({**FREEZE, "meter": 1600}, r"\$\.meter"),
    (
        {**FREEZE, "frozen_at": "2026-05-02T00:00:00Z"},
        r"no timezone component - at `\$\.frozen_at`",
    ),
    ({**FREEZE, "frozen_at": "2026-05-02"}, r"\$\.frozen_at"),
    ({**FREEZE, "read_at": "2026-05-02T00:06:11"}, r"with a timezone component - at `\$\.read_at`"),
    ({**FREEZE, "clock_skew": 3}, "unknown field `clock_skew`"),
    ({**FREEZE, "clock_skew_s": 1.5}, r"\$\.clock_skew_s"),
    ({**FREEZE, "v": 2}, "version 2 of the form is not known, only 1 is"),
    ({**FREEZE, "v": "1"}, "version '1'"),
    ({**FREEZE, "v": True}, "version True"),
    ({key: value for key, value in FREEZE.items() if key != "v"}, "version None"),
    ({**FREEZE, "type": "weekly_freeze"}, "weekly_freeze"),
    (
        {key: value for key, value in FREEZE.items() if key != "registers"},
        "missing required field `registers`",
    ),
    ({**ANSWER, "outcome": "done"}, r"\$\.outcome"),
    ({**ANSWER, "token": ""}, r"\$\.token"),
    ({**ANSWER, "relay": {"open": "yes"}}, r"\$\.relay\.open"),
    ({**READ, "what": "money"}, r"\$\.what"),
    ({**READ, "expires": "2026-05-02T00:10:00"}, r"\$\.expires"),
    ({**ORDER, "id": "7f3a"}, r"\$\.id"),
    ({**ORDER, "action": "reboot"}, r"\$\.action"),
    ({"v": 1, "type": "status", "online": 1}, r"\$\.online"),
]


def encoded(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def decoder(content: dict[str, Any]) -> Callable[[bytes], object]:
    return decode_down if content["type"] in ("read", "command") else decode_up


def registers_told(events: list[Event]) -> RegisterReport:
    """The first event, which reports registers."""
    assert isinstance(events[0], RegisterReport)
    return events[0]


@cache
def validator() -> Any:
    """Of our own form; it takes two seconds to import."""
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    formats = jsonschema.FormatChecker(["uuid", "date"])
    return jsonschema.Draft202012Validator(SCHEMA, format_checker=formats)


def schema_takes(content: dict[str, Any]) -> bool:
    return bool(validator().is_valid(content))


# --- our own form ---------------------------------------------------------------------------------


def test_the_schema_in_the_documents_is_that_of_the_decoder() -> None:
    assert json_schema() == SCHEMA


@pytest.mark.parametrize("content", GOOD, ids=lambda content: f"{content['type']}-{len(content)}")
def test_schema_and_decoder_take_every_good_message_and_write_it_back(
    content: dict[str, Any],
) -> None:
    assert schema_takes(content)
    message = decoder(content)(encoded(content))
    written = json.loads(msgspec.json.encode(message))
    assert schema_takes(written)
    assert decoder(content)(encoded(written)) == message


@pytest.mark.parametrize(("content", "reason"), BAD)
def test_schema_and_decoder_refuse_every_bad_message_and_say_what_and_where(
    content: dict[str, Any], reason: str
) -> None:
    assert not schema_takes(content)
    with pytest.raises(FrameError, match=reason):
        decoder(content)(encoded(content))


fields = st.sampled_from(sorted({key for content in GOOD for key in content}))
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(0, 9),
    st.sampled_from(["1", "1.5", "x", ""]),
)


@given(content=st.sampled_from(GOOD), field=fields, value=values)
@examples(300)
def test_schema_and_decoder_agree_about_any_changed_field(
    content: dict[str, Any], field: str, value: object
) -> None:
    changed = {**content, field: value}
    if changed["type"] != content["type"]:
        return
    try:
        decoder(content)(encoded(changed))
    except FrameError:
        is_taken = False
    else:
        is_taken = True
    # JSON has one kind of number: to the schema 1.0 is an integer.
    if isinstance(value, float) and value == int(value):
        return
    assert is_taken == schema_takes(changed), changed


@pytest.mark.parametrize(
    "payload", [b"", b"x", b"[1]", b"\xff\xfe", b"null", b'"text"', b"[" * 100_000, b'{"v":1']
)
def test_what_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError, match="no JSON object"):
        decode_up(payload)


@given(st.binary(max_size=200))
@examples(300)
def test_no_payload_does_more_than_be_refused(payload: bytes) -> None:
    for family, topics in (
        (OWN, ["meterd/gw-1/up/answer"]),
        (
            TASMOTA,
            ["tele/plug-1/SENSOR", "stat/plug-1/STATUS8", "stat/plug-1/POWER", "tele/plug-1/LWT"],
        ),
        (
            SHELLY,
            [
                "meterd-1/rpc",
                *(f"shellypro3em-1/{it}" for it in ("status/emdata:0", "events/rpc", "online")),
            ],
        ),
        (TTU, ["database/get/response/meterd/realtime", "collector/notify/event/database/m/d"]),
    ):
        for topic in topics:
            with suppress(FrameError):
                family.events(topic, payload)


def test_our_messages_become_events() -> None:
    def told(content: dict[str, Any], kind: str | None = None) -> list[Event]:
        return OWN.events(f"meterd/gw-1/up/{kind or content['type']}", encoded(content))

    registers = (Decimal("1234.56"), Decimal("300.10"), None)
    assert told(FREEZE) == [
        FreezeReport(METER, datetime(2026, 5, 2), registers, timedelta(seconds=-3))
    ]
    assert told(GOOD[4]) == [Answered(METER, "t-1", "accepted")]
    assert told(GOOD[6]) == [RelayReport(METER, True, None, False, "t-1")]
    assert told(GOOD[7]) == [RegisterReport(METER, (Decimal("1.5"), None), token="t-1")]
    assert told(GOOD[8]) == [
        FreezeReport(METER, datetime(2026, 5, 1), (Decimal("1.00"),), None, "t-1")
    ]
    assert told(GOOD[9]) == [PresenceReport(None, False)]
    assert told(GOOD[10]) == [Echoed("x")]
    assert OWN.events("meterd/gw-2/up/echo", encoded(GOOD[10])) == []
    with pytest.raises(FrameError, match="up/answer: carries a message of type 'daily_freeze'"):
        told(FREEZE, "answer")
    for outcome, value in (
        ("ok", {}),
        ("refused", {"registers": ["1"]}),
        ("ok", {**GOOD[7], **GOOD[6]}),
    ):
        with pytest.raises(FrameError, match=f"outcome '{outcome}' with"):
            told({**ANSWER, **value, "outcome": outcome})


def test_our_questions_and_commands_are_good_messages() -> None:
    asked = [
        OWN.read_freeze(METER, date(2026, 5, 1), "t-1", EXPIRES),
        OWN.read_registers(METER, "t-1", EXPIRES),
        OWN.read_relay(METER, "t-1", EXPIRES),
        OWN.control(METER, "trip", COMMAND, "t-1", EXPIRES),
    ]
    assert json.loads(asked[0].payload) == READ
    assert json.loads(asked[3].payload) == ORDER
    assert [it.topic for it in asked] == ["meterd/gw-1/down/read"] * 3 + [
        "meterd/gw-1/down/command"
    ]
    assert all(
        schema_takes(json.loads(it.payload)) and it.token == "t-1" and it.qos == 1 for it in asked
    )
    assert [OWN.is_control(it.topic, it.payload) for it in asked] == [False, False, False, True]
    assert OWN.is_control("anywhere", asked[3].payload)
    assert schema_takes(json.loads(OWN.presence(is_online=False).payload))


# --- other families -------------------------------------------------------------------------------

SENSOR = {
    "Time": "2026-05-02T00:00:05",
    "ENERGY": {"Total": 3.185, "Yesterday": 1.2, "Power": 375, "Voltage": 229, "Current": 2.392},
}
EM_DATA = '{"id":0,"total_act":2589773.39,"total_act_ret":1026.61,"n_current":null}'


def test_tasmota_counts_in_kwh() -> None:
    (told,) = TASMOTA.events("tele/plug-1/SENSOR", encoded(SENSOR))
    assert told == RegisterReport(
        "plug-1",
        (Decimal("3.185"),),
        {
            Quantity.ACTIVE_POWER: Decimal("0.375"),
            Quantity.VOLTAGE: Decimal(229),
            Quantity.CURRENT: Decimal("2.392"),
        },
        datetime(2026, 5, 2, 0, 0, 5),
    )
    answer = TASMOTA.events("stat/plug-1/STATUS8", encoded({"StatusSNS": SENSOR}))
    told = registers_told(answer)
    assert (told.token, told.registers) == ("plug-1/STATUS8", (Decimal("3.185"),))
    three = {"ENERGY": {"Total": [1.001, 2.002, 3.003], "Voltage": [1, 2, 3]}}
    told = registers_told(TASMOTA.events("tele/plug-1/SENSOR", encoded(three)))
    assert told.registers == (Decimal("6.006"),)
    missing = {"ENERGY": {"Total": [1.001, None, 3.003]}}
    told = registers_told(TASMOTA.events("tele/plug-1/SENSOR", encoded(missing)))
    assert told.registers == (None,)
    assert TASMOTA.events("tele/plug-1/SENSOR", encoded({"Time": "x", "ANALOG": {"A0": 1}})) == []


def test_tasmota_tells_three_phases_in_lists() -> None:
    """xnrg drivers of three-phase meters: Voltage may be one for all."""
    sensor = {"ENERGY": {"Total": [1, 2, 3], "Power": [100, 200, 300.5], "Voltage": 230}}
    told = registers_told(TASMOTA.events("tele/plug-1/SENSOR", encoded(sensor)))
    assert told.values == {
        Quantity.ACTIVE_POWER_A: Decimal("0.1"),
        Quantity.ACTIVE_POWER_B: Decimal("0.2"),
        Quantity.ACTIVE_POWER_C: Decimal("0.3005"),
        Quantity.ACTIVE_POWER: Decimal("0.6005"),
        Quantity.VOLTAGE: Decimal(230),
    }


def test_a_channel_of_a_tasmota_is_a_meter_of_its_own() -> None:
    two = Tasmota(["strip:1", "strip:2"])
    assert two.subscriptions.count("tele/strip/SENSOR") == 1
    assert {"stat/strip/POWER1", "stat/strip/POWER2"} < set(two.subscriptions)
    sensor = {"ENERGY": {"Total": [1.5, 2.5], "Power": [10, 20], "Voltage": 230}}
    first, second = two.events("tele/strip/SENSOR", encoded(sensor))
    assert isinstance(first, RegisterReport)
    assert isinstance(second, RegisterReport)
    assert (first.device, first.registers) == ("strip:1", (Decimal("1.5"),))
    assert (second.device, second.registers) == ("strip:2", (Decimal("2.5"),))
    assert second.values == {
        Quantity.ACTIVE_POWER: Decimal("0.02"),
        Quantity.VOLTAGE: Decimal(230),
    }
    assert two.events("stat/strip/POWER2", b"OFF") == [
        RelayReport("strip:2", True, True, token="strip:2/POWER")
    ]
    trip = two.control("strip:2", "trip", COMMAND, "t", EXPIRES)
    assert (trip.topic, trip.payload, trip.token) == (
        "cmnd/strip/POWER2",
        b"OFF",
        "strip:2/POWER",
    )
    assert two.read_registers("strip:2", "t", EXPIRES).topic == "cmnd/strip/STATUS"
    with pytest.raises(FrameError, match="has 1 channels, not 2"):
        Tasmota(["a:2"]).events("tele/a/SENSOR", encoded({"ENERGY": {"Total": [1]}}))


@pytest.mark.parametrize(
    ("device", "told"),
    [("a:1", {"Total": 4, "Power": [10, 20]}), ("a:2", {"Total": 4, "Power": 30})],
)
def test_the_sum_of_all_channels_of_a_tasmota_is_that_of_none(
    device: str, told: dict[str, Any]
) -> None:
    # As it tells it unless SetOption129 is 1: each of two flats would be billed for both.
    with pytest.raises(FrameError, match=r"of all channels together .* SetOption129 1"):
        Tasmota([device]).events("tele/a/SENSOR", encoded({"ENERGY": told}))


@pytest.mark.parametrize("device", ["strip:02", "strip:0", "strip:\u0662"])
def test_a_channel_of_a_tasmota_has_one_name(device: str) -> None:
    assert f"tele/{device}/SENSOR" in Tasmota([device]).subscriptions


def test_the_only_channel_of_a_tasmota_may_be_named() -> None:
    (report,) = Tasmota(["a:1"]).events("tele/a/SENSOR", encoded({"ENERGY": {"Total": 4}}))
    assert isinstance(report, RegisterReport)
    assert report.registers == (Decimal(4),)


def test_the_only_relay_of_a_tasmota_may_be_its_first() -> None:
    assert TASMOTA.events("stat/plug-1/POWER1", b"ON") == [
        RelayReport("plug-1", False, False, token="plug-1/POWER")
    ]
    assert TASMOTA.events("stat/plug-1/POWER2", b"ON") == []


def test_a_tasmota_that_reads_a_smart_meter_names_its_energy_itself() -> None:
    """SML: the names are those of its script."""
    reader = Tasmota(["head"], "SML.Total_in")
    sensor = {"Time": "2026-05-02T00:00:05", "SML": {"Total_in": 1234.5678, "Power_curr": 321}}
    told = registers_told(reader.events("tele/head/SENSOR", encoded(sensor)))
    assert told.registers == (Decimal("1234.5678"),)
    assert told.device_time == datetime(2026, 5, 2, 0, 0, 5)
    assert reader.events("tele/head/SENSOR", encoded({"ENERGY": {"Total": 1}})) == []


Z2M = Zigbee2Mqtt(["plug-3"])


def test_zigbee2mqtt_tells_all_of_a_device_in_one_message() -> None:
    """A message of a metering plug as zigbee2mqtt.io documents it."""
    message = {
        "current": 0.05,
        "energy": 1.83,
        "linkquality": 120,
        "power": 9.7,
        "state": "ON",
        "voltage": 231,
    }
    registers, relay = Z2M.events("zigbee2mqtt/plug-3", encoded(message))
    assert registers == RegisterReport(
        "plug-3",
        (Decimal("1.83"),),
        {
            Quantity.ACTIVE_POWER: Decimal("0.0097"),
            Quantity.VOLTAGE: Decimal(231),
            Quantity.CURRENT: Decimal("0.05"),
        },
        None,
        "plug-3/energy",
    )
    assert relay == RelayReport("plug-3", False, False, token="plug-3/state")
    assert Z2M.events("zigbee2mqtt/plug-3", encoded({"linkquality": 1, "energy": None})) == []
    assert Z2M.events("zigbee2mqtt/bridge/state", b"online") == []


@pytest.mark.parametrize("payload", [b"offline", b'{"state":"offline"}'])
def test_zigbee2mqtt_tells_who_is_there(payload: bytes) -> None:
    topic = "zigbee2mqtt/plug-3/availability"
    assert topic in Z2M.subscriptions
    assert Z2M.events(topic, payload) == [PresenceReport("plug-3", False)]
    with pytest.raises(FrameError, match="neither online nor offline"):
        Z2M.events(topic, b"maybe")


def test_friendly_names_with_slashes_are_levels_of_the_topic() -> None:
    """Also where one name is the beginning of another."""
    family = Zigbee2Mqtt(["cellar", "cellar/pump 1"])
    (told,) = family.events("zigbee2mqtt/cellar/pump 1", b'{"energy":3.5}')
    assert isinstance(told, RegisterReport)
    assert (told.device, told.token) == ("cellar/pump 1", "cellar/pump 1/energy")
    assert family.read_registers("cellar/pump 1", "t", EXPIRES).token == told.token
    for device in ("cellar", "cellar/pump 1"):
        topic = f"zigbee2mqtt/{device}/availability"
        assert topic in family.subscriptions
        assert family.events(topic, b"online") == [PresenceReport(device, True)]
    assert family.events("zigbee2mqtt/cellar/pump 1/get", b'{"energy":""}') == []
    assert family.events("zigbee2mqtt/cellar/pump 2/availability", b"online") == []


def test_zigbee2mqtt_is_asked_and_moved_by_topics_of_the_device() -> None:
    other = Zigbee2Mqtt(["plug-3"], "z2m/floor-1")
    question = other.read_registers("plug-3", "t", EXPIRES)
    assert (question.topic, question.payload) == ("z2m/floor-1/plug-3/get", b'{"energy":""}')
    trip = other.control("plug-3", "trip", COMMAND, "t", EXPIRES)
    assert (trip.topic, trip.payload) == ("z2m/floor-1/plug-3/set", b'{"state":"OFF"}')
    (told,) = other.events("z2m/floor-1/plug-3", b'{"energy":"3.5"}')
    assert isinstance(told, RegisterReport)
    assert (told.registers, told.token) == ((Decimal("3.5"),), question.token)


@pytest.mark.parametrize(
    ("component", "status", "method"),
    [
        ("em1data:1", '{"id":1,"total_act_energy":2776.22,"total_act_ret_energy":58.3}', "EM1Data"),
        ("pm1:0", '{"id":0,"voltage":232.4,"apower":3.4,"aenergy":{"total":2776.22}}', "PM1"),
        ("switch:3", '{"id":3,"aenergy":{"total":2776.22}}', "Switch"),
    ],
)
def test_a_shelly_measures_in_one_of_its_components(
    component: str, status: str, method: str
) -> None:
    shelly = Shelly(["s-1"], "meterd-1", component)
    assert f"s-1/status/{component}" in shelly.subscriptions
    told = registers_told(shelly.events(f"s-1/status/{component}", status.encode()))
    assert told.registers == (Decimal("2.77622"),)
    question = json.loads(shelly.read_registers("s-1", "t", EXPIRES).payload)
    assert question["method"] == f"{method}.GetStatus"
    assert question["params"] == {"id": int(component[-1])}


def test_tasmota_tells_its_relay_and_its_presence() -> None:
    assert TASMOTA.events("stat/plug-1/POWER", b"OFF") == [
        RelayReport("plug-1", True, True, token="plug-1/POWER")
    ]
    assert TASMOTA.events("stat/plug-1/POWER", b"ON") == [
        RelayReport("plug-1", False, False, token="plug-1/POWER")
    ]
    assert TASMOTA.events("tele/plug-1/LWT", b"Offline") == [PresenceReport("plug-1", False)]
    with pytest.raises(FrameError, match="neither OFF nor ON"):
        TASMOTA.events("stat/plug-1/POWER", b"BLINK")


def test_shelly_counts_in_wh_and_null_is_missing() -> None:
    events = SHELLY.events("shellypro3em-1/status/emdata:0", EM_DATA.encode())
    assert len(events) == 1
    told = registers_told(events)
    assert told.registers == (Decimal("2589.77339"),)
    assert SHELLY.events("shellypro3em-1/status/emdata:0", b'{"total_act":null}') == []
    status = b'{"id":0,"output":false,"apower":0.0,"voltage":229.5,"aenergy":{"total":1234.5,"minute_ts":1777651200}}'
    registers, relay = SWITCH.events("shellyplus1pm-1/status/switch:0", status)
    assert isinstance(registers, RegisterReport)
    assert registers.registers == (Decimal("1.2345"),)
    assert (
        registers.device_time is None
    )  # minute_ts is the start of some minute, not the time of the value
    assert relay == RelayReport("shellyplus1pm-1", True, True)
    assert SHELLY.events("shellypro3em-1/online", b"false") == [
        PresenceReport("shellypro3em-1", False)
    ]


SHELLY_NOTICE = """{"src":"shellyplus1pm-1","dst":"shellyplus1pm-1/events","method":"NotifyStatus","params":
{"ts":1777651205.04,"switch:0":{"id":0,"aenergy":{"by_minute":[0.0],"minute_ts":1777651140,"total":1234.5}}}}"""
"""The frame of shelly-api-docs.shelly.cloud/gen2/General/Notifications, with another time and
component."""


def test_shelly_notifies_with_its_own_time() -> None:
    topic = "shellyplus1pm-1/events/rpc"
    assert topic in SWITCH.subscriptions
    at = datetime(2026, 5, 1, 16, 0, 5, 40_000, UTC)
    for notice in (SHELLY_NOTICE, SHELLY_NOTICE.replace("NotifyStatus", "NotifyFullStatus")):
        assert SWITCH.events(topic, notice.encode()) == [
            RegisterReport("shellyplus1pm-1", (Decimal("1.2345"),), device_time=at)
        ]
    turned = (
        b'{"method":"NotifyStatus","params":{"ts":1631186545.04,"switch:0":{"id":0,"output":true}}}'
    )
    assert SWITCH.events(topic, turned) == [RelayReport("shellyplus1pm-1", False, False)]
    (timeless,) = SWITCH.events(topic, SHELLY_NOTICE.replace("1777651205.04", "null").encode())
    assert isinstance(timeless, RegisterReport)
    assert timeless.device_time is None


@pytest.mark.parametrize(
    "notice",
    [
        b'{"method":"NotifyStatus","params":{"ts":1624348482.25,"cloud":{"connected":false}}}',
        b'{"method":"NotifyStatus","params":{"ts":1624348482.25,"switch:1":{"id":1,"aenergy":{"total":1}}}}',
        b'{"method":"NotifyStatus","params":{"ts":1624348482.25,"switch:0":null}}',
        b'{"method":"NotifyEvent","params":{"ts":1,"events":[{"component":"switch:0","id":0,"event":"x","ts":1}]}}',
        b'{"method":"NotifyStatus"}',
    ],
)
def test_a_shelly_notice_of_something_else_tells_nothing(notice: bytes) -> None:
    assert SWITCH.events("shellyplus1pm-1/events/rpc", notice) == []


@pytest.mark.parametrize("ts", ["1e300", "-1e18", '"soon"', "true", "[]"])
def test_a_shelly_notice_of_a_strange_time_is_refused(ts: str) -> None:
    with pytest.raises(FrameError, match="shellyplus1pm-1/events/rpc: ts is no "):
        SWITCH.events(
            "shellyplus1pm-1/events/rpc", SHELLY_NOTICE.replace("1777651205.04", ts).encode()
        )


def test_shelly_answers_by_the_id_of_the_question() -> None:
    question = SHELLY.read_registers("shellypro3em-1", "t-7", EXPIRES)
    assert question.topic == "shellypro3em-1/rpc"
    asked = {"id": "t-7", "src": "meterd-1", "method": "EMData.GetStatus", "params": {"id": 0}}
    assert json.loads(question.payload) == asked
    answer = f'{{"id":"t-7","src":"shellypro3em-1","dst":"meterd-1","result":{EM_DATA}}}'
    (told,) = SHELLY.events("meterd-1/rpc", answer.encode())
    assert isinstance(told, RegisterReport)
    assert (told.token, told.registers) == ("t-7", (Decimal("2589.77339"),))
    refusal = b'{"id":"t-7","src":"s","dst":"meterd-1","error":{"code":404,"message":"No handler"}}'
    assert SHELLY.events("meterd-1/rpc", refusal) == [
        Answered("s", "t-7", "refused", "No handler (404)")
    ]
    done = b'{"id":"t-7","src":"s","dst":"meterd-1","result":{"was_on":true}}'
    assert SHELLY.events("meterd-1/rpc", done) == [Answered("s", "t-7", "accepted")]


def test_the_state_grid_terminal_tells_strings_with_a_quality_and_a_zone() -> None:
    items = [
        {
            "name": "SupWh",
            "val": "1234.5678",
            "quality": "0",
            "timestamp": "2022-03-21T09:30:08.230+0800",
        },
        {"name": "SupWh1", "val": "", "quality": "0", "timestamp": "2022-03-21T09:30:08.230+0800"},
        {"name": "PhV_phsA", "val": "229.9", "quality": "1", "timestamp": None},
    ]
    content = {
        "token": "123",
        "timestamp": "2022-03-21T09:30:08.230+0800",
        "body": [{"dev": "m-1", "body": items}],
    }
    (told,) = TTU.events("database/get/response/meterd/realtime", encoded(content))
    assert isinstance(told, RegisterReport)
    assert told.registers == (Decimal("1234.5678"), None)
    assert told.values == {Quantity.VOLTAGE: None}
    assert (told.token, told.device) == ("123", "m-1")
    assert told.device_time == datetime.fromisoformat("2022-03-21T09:30:08.230+08:00")
    assert TTU.events(
        "collector/notify/event/database/LTU/m-1", encoded({"token": "9", "body": items})
    ) == [RegisterReport("m-1", told.registers, told.values, told.device_time)]
    empty = {**content, "body": [{"dev": "m-1", "body": []}]}
    assert TTU.events("database/get/response/meterd/realtime", encoded(empty)) == [
        Answered("m-1", "123", "no_data")
    ]
    number = {**content, "body": [{"dev": "m-1", "body": [{"name": "SupWh", "val": 1234.5}]}]}
    with pytest.raises(FrameError, match="val of 'SupWh' must be a string"):
        TTU.events("database/get/response/meterd/realtime", encoded(number))
    question = json.loads(TTU.read_registers("m-1", "123", EXPIRES).payload)
    assert question["body"] == [
        {"dev": "m-1", "totalcall": "0", "body": ["SupWh", "SupWh1", "PhV_phsA"]}
    ]


@pytest.mark.parametrize(
    "total", ["NaN", "1e400", '"abc"', "true", "-1", "[[1]]", "{}", "1e-400", '"Infinity"']
)
def test_an_energy_that_is_none_is_refused_with_its_topic_and_field(total: str) -> None:
    with pytest.raises(FrameError, match="tele/plug-1/SENSOR"):
        TASMOTA.events("tele/plug-1/SENSOR", f'{{"ENERGY":{{"Total":{total}}}}}'.encode())


@given(st.integers(0, 10**14))
@examples(200)
def test_watt_hours_become_kilowatt_hours_without_rounding(hundredths: int) -> None:
    wh = Decimal(hundredths).scaleb(-2)
    (told,) = SHELLY.events("shellypro3em-1/status/emdata:0", f'{{"total_act":{wh:f}}}'.encode())
    assert isinstance(told, RegisterReport)
    assert told.registers[0] is not None
    assert told.registers[0] * 1000 == wh


@pytest.mark.parametrize(
    ("family", "topic", "payload", "is_control"),
    [
        (TASMOTA, "cmnd/plug-1/POWER", b"OFF", True),
        (TASMOTA, "cmnd/plug-1/Power1", b"toggle", True),
        (TASMOTA, "cmnd/plug-1/Backlog", b"POWER OFF", True),
        (TASMOTA, "cmnd/plug-1/POWER", b"", False),
        (TASMOTA, "cmnd/plug-1/STATUS", b"8", False),
        (SHELLY, "x/rpc", b'{"method":"Switch.Set"}', True),
        (SHELLY, "x/rpc", b'{"method":"Script.Eval"}', True),
        (SHELLY, "x/rpc", b"not JSON", True),
        (SHELLY, "x/command/switch:0", b"off", True),
        (SHELLY, "x/rpc", b'{"method":"Switch.GetStatus"}', False),
        (Z2M, "zigbee2mqtt/plug-3/set", b'{"state":"ON"}', True),
        (Z2M, "zigbee2mqtt/bridge/request/restart", b"", True),
        (Z2M, "zigbee2mqtt/plug-3/get", b'{"state":""}', False),
        (TTU, "meterd/set/request/database/register", b"{}", True),
        (TTU, "meterd/action/request/database/x", b"{}", True),
        (TTU, "meterd/get/request/database/realtime", b"{}", False),
    ],
)
def test_what_can_move_a_relay_is_known_by_sight(
    family: Shelly | StateGrid | Tasmota | Zigbee2Mqtt, topic: str, payload: bytes, is_control: bool
) -> None:
    assert family.is_control(topic, payload) is is_control


def test_commands_to_devices_without_expiry_are_not_kept_by_a_broker() -> None:
    for family, device in (
        (TASMOTA, "plug-1"),
        (SWITCH, "shellyplus1pm-1"),
        (Z2M, "plug-3"),
    ):
        trip = family.control(device, "trip", COMMAND, "t", EXPIRES)
        close = family.control(device, "close", COMMAND, "t", EXPIRES)
        assert (trip.qos, close.qos) == (0, 0)
        assert trip.payload != close.payload
        assert family.is_control(trip.topic, trip.payload)
        assert family.is_control(close.topic, close.payload)
        assert not family.is_control(
            *[getattr(family.read_relay(device, "t", EXPIRES), it) for it in ("topic", "payload")]
        )


def test_bytes_of_a_line_travel_raw_or_as_hex() -> None:
    data = bytes(range(256))
    for wrapping in ("raw", "hex"):
        assert unwrap("t", wrap(data, wrapping), wrapping) == data
    assert unwrap("t", b'{"data":"68 aa\\n16"}', "hex") == b"\x68\xaa\x16"
    for bad in (b"x", b"{}", b'{"data":"6"}', b'{"data":"6g"}', b'{"data":68}'):
        with pytest.raises(FrameError, match="t: "):
            unwrap("t", bad, "hex")


# --- which meter it is


def test_a_gateway_tells_which_meter_it_is() -> None:
    identity = {"serial": "2026-0042", "prepayment": "money"}
    answer = {**ANSWER, "outcome": "ok", "identity": identity}
    (event,) = OWN.events("meterd/gw-1/up/answer", msgspec.json.encode(answer))
    assert event == IdentityReport(METER, "2026-0042", "money", "t-1")


def test_a_freeze_carries_the_serial_of_its_meter_where_the_gateway_tells_it() -> None:
    pushed = {**FREEZE, "serial": "2026-0042"}
    (event,) = OWN.events("meterd/gw-1/up/daily_freeze", msgspec.json.encode(pushed))
    assert isinstance(event, FreezeReport)
    assert event.serial == "2026-0042"


def test_a_tasmota_is_known_by_the_address_of_its_radio() -> None:
    """STATUS 5 as arendst/Tasmota answers it, StatusNET with the name Mac."""
    request = TASMOTA.read_identity("plug-1", "t", EXPIRES)
    assert (request.topic, request.payload) == ("cmnd/plug-1/STATUS", b"5")
    payload = b'{"StatusNET":{"Hostname":"plug-1","Mac":"5C:CF:7F:01:02:03","Webserver":2}}'
    (event,) = TASMOTA.events("stat/plug-1/STATUS5", payload)
    assert event == IdentityReport("plug-1", "5CCF7F010203", token=request.token)


def test_a_shelly_is_known_by_the_address_of_its_radio() -> None:
    """Shelly.GetDeviceInfo as the maker's API describes it."""
    request = SHELLY.read_identity("shellypro3em-1", "t", EXPIRES)
    assert msgspec.json.decode(request.payload)["method"] == "Shelly.GetDeviceInfo"
    assert not SHELLY.is_control(request.topic, request.payload)
    answer = {
        "id": "t",
        "src": "shellypro3em-1",
        "dst": "meterd-1",
        "result": {"id": "shellypro3em-1", "mac": "A0DD6C4F0102", "model": "SPEM-003CEBEU"},
    }
    (event,) = SHELLY.events("meterd-1/rpc", msgspec.json.encode(answer))
    assert event == IdentityReport("shellypro3em-1", "A0DD6C4F0102", token="t")


@pytest.mark.parametrize("mac", [5, "x" * 33, "a\nb"])
def test_a_radio_address_that_is_none_is_refused(mac: object) -> None:
    payload = msgspec.json.encode({"StatusNET": {"Mac": mac}})
    with pytest.raises(FrameError, match=r"StatusNET\.Mac"):
        TASMOTA.events("stat/plug-1/STATUS5", payload)
