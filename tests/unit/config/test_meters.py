"""Meters of other protocols in the archive: their route, their profile, their relay, what a gateway
calls them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from config.load import LoadedSite, load_site
from config.problems import ConfigError

SITE = """
[site]
name = "Block #7"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"
[[line]]
name = "hall"
tcp = "127.0.0.1:9"
[[gateway]]
name = "plugs"
broker = { host = "127.0.0.1" }
family = "tasmota"
"""
ZIGBEE = """
[[gateway]]
name = "zigbee"
broker = { host = "127.0.0.1" }
family = "zigbee2mqtt"
"""
HEAD = "address,line,point,installed_on,protocol,profile,relay,device"


def site(folder: Path, *meters: str, reconnect: str = "close", head: str = HEAD) -> LoadedSite:
    (folder / "meterd.toml").write_text(SITE + ZIGBEE)
    (folder / "tariffs.toml").write_text(
        '[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "0.5"\n'
    )
    (folder / "meters.csv").write_text("\n".join([head, *meters]) + "\n")
    (folder / "points.csv").write_text(
        "\n".join(["point,reconnect", *(f"P{n},{reconnect}" for n in range(1, 5))])
    )
    (folder / "accounts.csv").write_text("account,tariff\n")
    return load_site(folder / "meterd.toml")


def test_meters_of_every_protocol_find_their_routes(tmp_path: Path) -> None:
    found = site(
        tmp_path,
        "000000000001,hall,P1,2026-01-01,,,,",
        "7,hall,P2,2026-01-01,modbus-rtu,hiking-dds238-4w,yes,",
        "000000000003,hall,P3,2026-01-01,dlt645-1997,,,",
        "000000000004,zigbee,P4,2026-01-01,mqtt,,yes,cellar/plug 4",
    ).archive
    assert [(m.address, m.relay, m.device) for m in found.meters] == [
        ("000000000001", True, "000000000001"),
        ("hall/7", True, "hall/7"),
        ("000000000003", False, "000000000003"),
        ("000000000004", True, "cellar/plug 4"),
    ]
    assert (found.meters[1].modulus_kwh, found.meters[1].decimals) == (Decimal("42949672.96"), 2)
    assert list(found.profiles) == ["hiking-dds238-4w"]


@pytest.mark.parametrize(
    ("meters", "told"),
    [
        (
            ["7,hall,P1,2026-01-01,modbus-rtu,,,"],
            "meters.csv:2: profile: a modbus-rtu meter needs one",
        ),
        (["7,hall,P1,2026-01-01,modbus-rtu,sdm,,"], "meters.csv:2: profile: sdm cannot be used"),
        (
            ["000000000001,hall,P1,2026-01-01,,eastron-sdm630,,"],
            "meters.csv:2: profile: a dlt645-2007 meter has no register profile; leave it empty",
        ),
        (
            ["999,hall,P1,2026-01-01,modbus-rtu,eastron-sdm630,,"],
            'address: "999" is no modbus-rtu unit (1 to 247)',
        ),
        (
            ["0,hall,P1,2026-01-01,modbus-rtu,eastron-sdm630,,"],
            'address: "0" is no modbus-rtu unit (1 to 247)',
        ),
        (
            ["256,hall,P1,2026-01-01,modbus-tcp,eastron-sdm630,,"],
            'address: "256" is no modbus-tcp unit (0 to 255)',
        ),
        (["7,hall,P1,2026-01-01,modbus-tcp,eastron-sdm630,yes,"], "says nothing of a relay"),
        (
            ["000000000003,hall,P1,2026-01-01,dlt645-1997,,yes,"],
            "the standard of 1997 knows no relay",
        ),
        (
            ["000000000004,hall,P1,2026-01-01,mqtt,,,"],
            "hall is no [[gateway]], and a mqtt meter needs one",
        ),
        (
            ["000000000001,plugs,P1,2026-01-01,,,,"],
            "plugs is no [[line]], and a dlt645-2007 meter needs one",
        ),
        (
            ["000000000001,hall,P1,2026-01-01,,,,x"],
            "only a gateway calls its meters by names of its own",
        ),
        (["000000000004,plugs,P1,2026-01-01,mqtt,,,a+"], "it must not hold + or #"),
        (["000000000004,plugs,P1,2026-01-01,mqtt,,,a/b"], "it must not hold /, which only"),
        (["000000000004,zigbee,P1,2026-01-01,mqtt,,,a#/b"], "it must not hold + or #"),
        (
            ["000000000004,zigbee,P1,2026-01-01,mqtt,,,a//b"],
            "no level may be empty or one of availability",
        ),
        (
            ["000000000004,zigbee,P1,2026-01-01,mqtt,,,a/get"],
            "no level may be empty or one of availability",
        ),
        (
            [
                "000000000004,plugs,P1,2026-01-01,mqtt,,,a",
                "000000000005,plugs,P2,2026-01-01,mqtt,,,a",
            ],
            "meters.csv:3: device: a is 000000000004 already on plugs",
        ),
    ],
)
def test_a_mistake_is_told_at_its_row(tmp_path: Path, meters: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        site(tmp_path, *meters)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    "meter",
    [
        "7,hall,P1,2026-01-01,modbus-rtu,hiking-dds238-4w,yes,",
        "000000000004,plugs,P1,2026-01-01,mqtt,,yes,plug",
    ],
)
def test_a_relay_without_a_button_must_be_agreed_to_close_at_once(
    tmp_path: Path, meter: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        site(tmp_path, meter, reconnect="allow_close")
    assert "closes at once: reconnect must be close, not allow_close" in str(refusal.value)


def test_a_register_of_dlt645_has_two_decimals_at_least(tmp_path: Path) -> None:
    site(tmp_path)
    (tmp_path / "meters.csv").write_text(
        "address,line,point,installed_on,decimals\n000000000001,hall,P1,2026-01-01,1\n"
    )
    with pytest.raises(ConfigError) as refusal:
        load_site(tmp_path / "meterd.toml")
    assert "meters.csv:2: decimals: a DL/T 645 meter tells 0.01 kWh" in str(refusal.value)


def test_a_registered_serial_is_written_as_the_meter_tells_it(tmp_path: Path) -> None:
    found = site(
        tmp_path,
        "000000000001,hall,P1,2026-01-01,,,,,4711",
        "7,hall,P2,2026-01-01,modbus-rtu,schneider-iem3000,,,0001234567",
        "000000000003,hall,P3,2026-01-01,,,,,SG-2026-0042",
        "000000000004,plugs,P4,2026-01-01,mqtt,,,plug-4,",
        head=f"{HEAD},serial",
    ).archive
    serials = [meter.serial for meter in found.meters]
    assert serials == ["000000004711", "1234567", "SG-2026-0042", None]


def test_mistakes_of_registered_serials_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        site(
            tmp_path,
            "000000000001,hall,P1,2026-01-01,,,,,4711",
            "000000000002,hall,P2,2026-01-01,,,,,000000004711",
            f"000000000003,hall,P3,2026-01-01,,,,,{'x' * 33}",
            "7,hall,P4,2026-01-01,modbus-rtu,eastron-sdm630,,,5",
            head=f"{HEAD},serial",
        )
    assert [str(problem) for problem in error.value.problems] == [
        "meters.csv:3: serial: 000000004711 is that of 000000000001 already",
        "meters.csv:4: serial: has 33 characters, at most 32",
        "meters.csv:5: serial: profile eastron-sdm630 says nothing of a serial number; "
        "leave it empty",
    ]


def test_only_a_relay_has_a_type(tmp_path: Path) -> None:
    head = f"{HEAD},relay_type"
    found = site(tmp_path, "000000000001,hall,P1,2026-01-01,,,,,internal", head=head)
    assert found.archive.meters[0].relay_type == "internal"
    with pytest.raises(ConfigError, match="relay_type: is of a meter without a relay"):
        site(tmp_path, "000000000001,hall,P1,2026-01-01,,,no,,internal", head=head)
