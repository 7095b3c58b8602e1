"""Which lines a site has, and what each is built of."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from config.lines import LineKind, configured_lines, enabled_listeners, line_specs
from config.load import LoadedSite, load_site

FILES = {
    "meterd.toml": """
[site]
name = "s"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"
[[line]]
name = "hall"
tcp = "127.0.0.1:9"
[[line]]
name = "cellar"
serial = "/dev/ttyS9"
enabled = false
[[gateway]]
name = "plugs"
broker = { host = "127.0.0.1" }
[[gateway]]
name = "spare"
broker = { host = "127.0.0.1" }
enabled = false
[[listener]]
name = "gprs"
listen = "127.0.0.1:9000"
terminals = "terminals.csv"
registration = { text = "{id:2}" }
retries = 3
[[listener]]
name = "empty"
listen = "127.0.0.1:9001"
terminals = "nobody.csv"
registration = { text = "{id:2}" }
[[listener]]
name = "off"
listen = "127.0.0.1:9002"
terminals = "off.csv"
registration = { text = "{id:2}" }
enabled = false
[log]
trace_lines = ["d2"]
""",
    "terminals.csv": "line,terminal\nd1,01\nd2,02\n",
    "nobody.csv": "line,terminal\n",
    "off.csv": "line,terminal\nd9,09\n",
    "tariffs.toml": '[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "0.5"\n',
    "meters.csv": "address,line,point,installed_on,protocol,profile\n"
    "000000000001,hall,P1,2026-01-01,,\n"
    "000000000002,d1,P2,2026-01-01,,\n"
    "7,hall,P3,2026-01-01,modbus-rtu,hiking-dds238-4w\n",
    "points.csv": "point,ratio,max_daily_kwh\nP1,1,\nP2,40,99\nP3,1,\n",
    "accounts.csv": "account,tariff\n",
}


def site(folder: Path) -> LoadedSite:
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return load_site(folder / "meterd.toml")


def test_lines_terminals_and_gateways_are_listed_those_that_are_switched_off_too(
    tmp_path: Path,
) -> None:
    listed = [
        (line.name, line.kind, line.shown_as, line.enabled)
        for line in configured_lines(site(tmp_path))
    ]
    assert listed == [
        ("hall", LineKind.LINE, "hall", True),
        ("cellar", LineKind.LINE, "cellar", False),
        ("d1", LineKind.TERMINAL, "gprs", True),
        ("d2", LineKind.TERMINAL, "gprs", True),
        ("d9", LineKind.TERMINAL, "off", False),
        ("plugs", LineKind.GATEWAY, "plugs", True),
        ("spare", LineKind.GATEWAY, "spare", False),
    ]


def test_only_what_is_enabled_is_built_with_its_meters(tmp_path: Path) -> None:
    specs = {spec.name: spec for spec in line_specs(site(tmp_path))}
    assert list(specs) == ["hall", "d1", "d2", "plugs"]
    assert [listed.meter.address for listed in specs["hall"].meters] == ["000000000001", "hall/7"]
    assert [listed.profile and listed.profile.name for listed in specs["hall"].meters] == [
        None,
        "hiking-dds238-4w",
    ]
    (meter,) = specs["d1"].meters
    assert (meter.ratio, meter.max_daily_kwh) == (Decimal(40), Decimal(99))
    assert specs["d2"].meters == ()
    assert [spec.is_traced for spec in specs.values()] == [False, False, True, False]


def test_named_lines_are_built_alone_and_equal_to_those_of_the_whole_site(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    whole = {spec.name: spec for spec in line_specs(loaded)}
    assert line_specs(loaded, {"d1", "cellar"}) == [whole["d1"]]


def test_the_port_of_a_listener_without_terminals_is_open(tmp_path: Path) -> None:
    settings = site(tmp_path).settings
    assert [listener.name for listener in enabled_listeners(settings)] == ["gprs", "empty"]
