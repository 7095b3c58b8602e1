"""What a reload would do to a site, edit by edit."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from config.load import LoadedSite, load_site
from daemon.site.difference import Difference, applicable, changed_part, difference

FILES = {
    "meterd.toml": """
[site]
name = "s"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"

[[line]]
name = "a"
tcp = "127.0.0.1:7001"

[[line]]
name = "b"
tcp = "127.0.0.1:7002"

[[gateway]]
name = "g"
broker = { host = "127.0.0.1", password = { file = "broker" } }

[collection]
retry_s = 60

[control]
password = { file = "password" }

[http]
listen = "127.0.0.1:9645"
""",
    "m.toml": """
title = "A meter"
source = ["its manual"]
address_base = 0
function = 3
type = "uint32"
order = "ABCD"

[block]
limit = 40

[quantity]
forward_active_energy = { register = 62, unit = "kWh", scale = 0.01 }
""",
    "broker": "broker-secret",
    "password": "123456",
    "terminals.csv": "line,terminal\nd1,01\nd2,02\n",
    "tariffs.toml": '[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "0.5"\n',
    "meters.csv": "address,line,point,installed_on,protocol,profile\n"
    "000000000001,a,P1,2026-01-01,dlt645-2007,\n"
    "000000000002,b,P2,2026-01-01,dlt645-2007,\n"
    "000000000003,g,P3,2026-01-01,mqtt,\n"
    "4,b,P4,2026-01-01,modbus-rtu,m.toml\n",
    "points.csv": "point,account,ratio\nP1,C1,1\nP2,C2,1\nP3,C3,1\nP4,C3,1\n",
    "accounts.csv": "account,tariff\nC1,home\nC2,home\nC3,home\n",
}


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., LoadedSite]:
    """The site with parts of its files replaced: (file, old, new)."""

    def make(*edits: tuple[str, str, str]) -> LoadedSite:
        files = dict(FILES)
        for file, old, new in edits:
            assert old in files[file]
            files[file] = files[file].replace(old, new)
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return load_site(tmp_path / "meterd.toml")

    return make


def in_meterd(old: str, new: str) -> tuple[str, str, str]:
    return "meterd.toml", old, new


NEW_LINE = '[[line]]\nname = "c"\ntcp = "127.0.0.1:7003"\n\n[[gateway]]'


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([], Difference(unchanged=3)),
        ([in_meterd(":7001", ":7009")], Difference(changed={"a": ("tcp",)}, unchanged=2)),
        (
            [in_meterd('7001"', '7001"\nretries = 3')],
            Difference(changed={"a": ("retries",)}, unchanged=2),
        ),
        ([in_meterd('7002"', '7002"\nenabled = false')], Difference(removed=("b",), unchanged=2)),
        ([in_meterd("[[gateway]]", NEW_LINE)], Difference(added=("c",), unchanged=3)),
        (
            [("broker", "broker-secret", "another")],
            Difference(changed={"g": ("broker",)}, unchanged=2),
        ),
        (
            [in_meterd("retry_s = 60", "retry_s = 61")],
            Difference(
                changed=dict.fromkeys(("a", "b", "g"), ("collection.retry_s",)),
                settings=("collection.retry_s",),
            ),
        ),
        (
            [in_meterd("[http]", '[log]\ntrace_lines = ["b"]\n[http]')],
            Difference(changed={"b": ("traced",)}, unchanged=2, settings=("log.trace_lines",)),
        ),
        (
            [("meters.csv", "2,b,P2", "2,a,P2")],
            Difference(
                changed={"a": ("1 meter added",), "b": ("1 meter removed",)},
                unchanged=1,
                moved=(("000000000002", "b", "a"),),
                archive={"meters": 1},
            ),
        ),
        (
            [("points.csv", "P1,C1,1", "P1,C1,40")],
            Difference(changed={"a": ("1 meter changed",)}, unchanged=2, archive={"points": 1}),
        ),
        ([("m.toml", "62", "64")], Difference(changed={"b": ("1 meter changed",)}, unchanged=2)),
        ([("accounts.csv", "C2,home", "C4,home"), ("points.csv", "C2", "C4")], None),
        ([("tariffs.toml", "0.5", "0.6")], Difference(unchanged=3, archive={"tariffs": 1})),
        (
            [("password", "123456", "654321")],
            Difference(unchanged=3, needs_restart=("control.password",)),
        ),
        ([in_meterd(":9645", ":9646")], Difference(unchanged=3, needs_restart=("http.listen",))),
        (
            [in_meterd("[http]", "[quality]\nhigh_factor = 2\n[http]")],
            Difference(unchanged=3, settings=("quality.high_factor",)),
        ),
        (
            [in_meterd("[http]", "[quality]\nmax_daily_kwh = 500\n[http]")],
            Difference(
                changed={
                    "a": ("1 meter changed",),
                    "b": ("2 meters changed",),
                    "g": ("1 meter changed",),
                },
                archive={"points": 4},
                settings=("quality.max_daily_kwh",),
            ),
        ),
        (
            [in_meterd('"Asia/Shanghai"', '"Asia/Urumqi"')],
            Difference(unchanged=3, needs_restart=("site.zone",)),
        ),
        (
            [in_meterd("retry_s", "batch_readings = 5\nretry_s")],
            Difference(unchanged=3, needs_restart=("collection.batch_readings",)),
        ),
    ],
)
def test_an_edit_touches_only_the_lines_that_are_made_of_it(
    site: Callable[..., LoadedSite], edits: list[tuple[str, str, str]], expected: Difference | None
) -> None:
    found = difference(site(), site(*edits))
    if expected is None:  # an account without effect on a line
        expected = Difference(unchanged=3, archive={"points": 1, "accounts": 2})
    assert found == expected


@pytest.mark.parametrize(
    "edits",
    [
        [],
        [("meters.csv", "2,b,P2", "2,a,P2")],
        [("meters.csv", "000000000001,a,P1,2026-01-01,dlt645-2007,\n", "")],
        [("points.csv", "P1,C1,1", "P1,C1,40"), ("meters.csv", "2,b,P2", "9,b,P2")],
        [("points.csv", "P4,C3,1", "P4,C3,1\nP5,C2,1")],
        [("m.toml", "62", "64")],
        [("accounts.csv", "C2,home", "C4,home"), ("points.csv", "C2", "C4")],
        [("tariffs.toml", "0.5", "0.6")],
    ],
)
def test_the_difference_is_the_same_where_rows_that_stayed_were_not_read_again(
    site: Callable[..., LoadedSite], edits: list[tuple[str, str, str]]
) -> None:
    old = site()
    thorough = site(*edits)
    followed = load_site(thorough.path, old)
    assert difference(old, followed) == difference(old, thorough)
    part, points = changed_part(old, followed)
    expected, expected_points = changed_part(old, thorough)
    assert (part.archive, points) == (expected.archive, expected_points)


def test_a_difference_shows_no_secret(site: Callable[..., LoadedSite]) -> None:
    told = str(
        difference(
            site(), site(("broker", "broker-secret", "another"), ("password", "123456", "654321"))
        )
    )
    assert "broker-secret" not in told
    assert "another" not in told
    assert "654321" not in told


def test_ways_for_notices_are_taken_over_and_named_by_their_keys_without_secrets(
    site: Callable[..., LoadedSite],
) -> None:
    def channels(*named: tuple[str, float]) -> LoadedSite:
        tables = "".join(
            f'[[notice_channel]]\nname = "{name}"\ntimeout_s = {timeout_s}\n'
            'apprise = { file = "broker" }\n'
            for name, timeout_s in named
        )
        secret = ("broker", "broker-secret", "json://user:pass@host/{address}")
        return site(in_meterd("[http]", f"{tables}[http]"), secret)

    old = channels(("sms", 5.0), ("mail", 5.0))
    new = channels(("mail", 6.0), ("app", 5.0))
    found = difference(old, new)
    assert found.settings == (
        "notice_channel.sms",
        "notice_channel.app",
        "notice_channel.mail.timeout_s",
    )
    assert found.needs_restart == ()
    assert applicable(old, new).settings.notice_channel == new.settings.notice_channel
    assert difference(channels(), old).settings == ("notice_channel.sms", "notice_channel.mail")


def test_who_is_on_call_is_taken_over_and_named(site: Callable[..., LoadedSite]) -> None:
    def on_call(*named: tuple[str, int], minutes: int = 10) -> LoadedSite:
        channel = '[[notice_channel]]\nname = "sms"\napprise = { file = "broker" }\n'
        tables = "".join(
            f'[[on_call]]\nname = "{name}"\nlevel = {level}\nchannel = "sms"\naddress = "1"\n'
            for name, level in named
        )
        alarms = f"[alarms]\nescalate_after_min = {minutes}\n"
        secret = ("broker", "broker-secret", "json://user:pass@host/{address}")
        return site(in_meterd("[http]", f"{channel}{tables}{alarms}[http]"), secret)

    old = on_call(("li", 1), ("li", 3), ("wu", 2), ("xu", 1))
    new = on_call(("li", 1), ("wu", 2), ("xu", 2), ("yu", 1), minutes=5)
    found = difference(old, new)
    assert set(found.settings) == {
        "alarms.escalate_after_min",
        *("on_call.li", "on_call.xu", "on_call.yu"),
    }
    assert found.needs_restart == ()
    applied = applicable(old, new).settings
    assert (applied.on_call, applied.alarms) == (new.settings.on_call, new.settings.alarms)


def test_what_needs_a_restart_stays_as_it_was_and_is_named_again(
    site: Callable[..., LoadedSite],
) -> None:
    old = site()
    new = site(
        in_meterd(":9645", ":9646"),
        in_meterd("retry_s = 60", "retry_s = 61"),
        ("password", "123456", "654321"),
    )
    applied = applicable(old, new)
    assert applied.settings.http == old.settings.http
    assert applied.settings.control.password is not None
    assert applied.settings.control.password.reveal() == "123456"
    assert applied.settings.collection.retry == timedelta(seconds=61)
    assert difference(applied, new) == Difference(
        unchanged=3, needs_restart=("control.password", "http.listen")
    )


def test_applying_an_edit_leaves_no_difference_but_what_needs_a_restart(
    site: Callable[..., LoadedSite],
) -> None:
    old = site()
    new = site(
        in_meterd(":7001", ":7009"),
        ("meters.csv", "2,b,P2", "2,a,P2"),
        ("tariffs.toml", "0.5", "0.6"),
    )
    assert difference(applicable(old, new), new) == Difference(unchanged=3)


# --- terminals ------------------------------------------------------------------------------------

LISTENER = """
[[listener]]
name = "l"
listen = "127.0.0.1:9000"
terminals = "terminals.csv"
registration = { text = "{id:2}" }
"""
ANOTHER_KIND = (
    "kind",
    "listener",
    "reply_timeout_s",
    "terminal",
    "name",
    "tcp",
    "baud",
    "parity",
    "data_bits",
    "stop_bits",
    "enabled",
)
WITH_LISTENER = in_meterd("[collection]", f"{LISTENER}[collection]")


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([("terminals.csv", "d1,01\n", "d1,01\nd3,03\n")], Difference(added=("d3",), unchanged=5)),
        ([("terminals.csv", "d1,01\n", "")], Difference(removed=("d1",), unchanged=4)),
        (
            [("terminals.csv", "d1,01", "d1,09")],
            Difference(changed={"d1": ("terminal",)}, unchanged=4),
        ),
        (
            [("meters.csv", "2,b,P2", "2,d1,P2")],
            Difference(
                changed={"b": ("1 meter removed",), "d1": ("1 meter added",)},
                unchanged=3,
                moved=(("000000000002", "b", "d1"),),
                archive={"meters": 1},
            ),
        ),
        (
            [in_meterd("[http]", '[log]\ntrace_lines = ["d2"]\n[http]')],
            Difference(changed={"d2": ("traced",)}, unchanged=4, settings=("log.trace_lines",)),
        ),
        (
            [in_meterd('"{id:2}" }', '"{id:2}" }\nretries = 3\npipelined = 2')],
            Difference(changed=dict.fromkeys(("d1", "d2"), ("retries", "pipelined")), unchanged=3),
        ),
        (
            [in_meterd('"{id:2}" }', '"{id:2};" }\nsilent_s = 60')],
            Difference(unchanged=5, settings=("listener.l.registration", "listener.l.silent_s")),
        ),
        (
            [in_meterd(":9000", ":9001")],
            Difference(unchanged=5, needs_restart=("listener.l.listen",)),
        ),
        (
            [in_meterd('name = "l"', 'name = "l"\nenabled = false')],
            Difference(unchanged=5, needs_restart=("listener.l.enabled",)),
        ),
        (
            [in_meterd('name = "l"', 'name = "m"')],
            Difference(
                removed=("d1", "d2"), unchanged=3, needs_restart=("listener.l", "listener.m")
            ),
        ),
        (
            [in_meterd(LISTENER, '\n[[line]]\nname = "d1"\ntcp = "127.0.0.1:7003"\n')],
            Difference(
                removed=("d2",),
                changed={"d1": ANOTHER_KIND},
                unchanged=3,
                needs_restart=("listener.l",),
            ),
        ),
    ],
)
def test_an_edit_touches_only_the_terminals_it_is_about_and_no_port(
    site: Callable[..., LoadedSite], edits: list[tuple[str, str, str]], expected: Difference
) -> None:
    old, new = site(WITH_LISTENER), site(WITH_LISTENER, *edits)
    assert difference(old, new) == expected
    unchanged = len(expected.added) + len(expected.changed) + expected.unchanged
    left = difference(applicable(old, new), new)
    assert left == Difference(unchanged=unchanged, needs_restart=expected.needs_restart)


def test_a_new_listener_needs_a_restart_and_its_terminals_wait_for_it(
    site: Callable[..., LoadedSite],
) -> None:
    old, new = site(), site(WITH_LISTENER)
    expected = Difference(unchanged=3, needs_restart=("listener.l",))
    assert difference(old, new) == expected
    assert difference(applicable(old, new), new) == expected
