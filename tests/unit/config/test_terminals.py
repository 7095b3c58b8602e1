"""Listeners and the lists of their terminals: what is read, and what every mistake says."""

from __future__ import annotations

import subprocess
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from config.load import LoadedSite, load_site
from config.problems import ConfigError
from config.terminals import Terminal
from protocols.dial_in.registration import LONGEST_REGISTRATION, heartbeat, registration
from tests.growth import growth
from tests.unit.config.test_meters import SITE

LISTENER = """
[[listener]]
name = "gprs"
listen = "127.0.0.1:9000"
terminals = "terminals.csv"
registration = { text = "REG:{id}\\r\\n" }
"""


def site(
    folder: Path,
    toml: str,
    *rows: str,
    meters: tuple[str, ...] = (),
    head: str = "line,terminal",
) -> LoadedSite:
    (folder / "meterd.toml").write_text(SITE + toml)
    (folder / "tariffs.toml").write_text(
        '[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "0.5"\n'
    )
    (folder / "terminals.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "meters.csv").write_text(
        "\n".join(["address,line,point,installed_on", *meters]) + "\n"
    )
    (folder / "points.csv").write_text("point\nP1\n")
    (folder / "accounts.csv").write_text("account,tariff\n")
    return load_site(folder / "meterd.toml")


def mistakes(folder: Path, toml: str, *rows: str, **how: Any) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        site(folder, toml, *rows, **how)
    return [str(problem) for problem in refusal.value.problems]


def test_each_terminal_is_a_line_that_meters_may_name_and_that_may_be_traced(
    tmp_path: Path,
) -> None:
    traced = '[log]\ntrace_lines = ["dtu-2"]\n'
    found = site(
        tmp_path,
        LISTENER + traced,
        "dtu-1,8601",
        "dtu-2,8602",
        meters=("000000000001,dtu-2,P1,2026-01-01",),
    )
    assert found.terminals == {"gprs": (Terminal("dtu-1", "8601"), Terminal("dtu-2", "8602"))}
    assert found.archive.meters[0].line == "dtu-2"


def test_a_hex_id_may_be_written_in_small_letters(tmp_path: Path) -> None:
    toml = LISTENER.replace('{ text = "REG:{id}\\r\\n" }', '{ hex = "EB90 {id:2} 16" }')
    assert site(tmp_path, toml, "dtu-1,00af").terminals["gprs"] == (Terminal("dtu-1", "00AF"),)


def test_networks_and_a_fingerprint_stand_in_the_list(tmp_path: Path) -> None:
    printed = "sha256 Fingerprint=" + ":".join(["AB"] * 32)
    toml = LISTENER + """tls_certificate = "c.pem"\ntls_key = "k.pem"\ntls_client_ca = "c.pem"\n"""
    toml += 'permitted_networks = ["10.0.0.0/8"]\n'
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    files = ("-keyout", tmp_path / "k.pem", "-out", tmp_path / "c.pem")
    command = ("openssl", "req", "-x509", *curve, "-nodes", "-subj", "/CN=x", *files)
    subprocess.run(command, check=True, capture_output=True)
    found = site(
        tmp_path,
        toml,
        "dtu-1,8601,,",
        f"dtu-2,8602,10.1.0.7 10.2.0.0/16,{printed}",
        head="line,terminal,permitted_networks,fingerprint",
    )
    assert found.settings.listener[0].permitted_networks == (ip_network("10.0.0.0/8"),)
    assert found.terminals["gprs"] == (
        Terminal("dtu-1", "8601"),
        Terminal("dtu-2", "8602", (ip_network("10.1.0.7"), ip_network("10.2.0.0/16")), "ab" * 32),
    )


def test_a_network_or_a_fingerprint_that_is_none_is_told(tmp_path: Path) -> None:
    told = mistakes(
        tmp_path,
        LISTENER + 'permitted_networks = ["10.1.2.3/8"]\n',
        "dtu-1,8601,10.1.0.0/8,",
        "dtu-2,8602,everywhere,",
        "dtu-3,8603,,AB:CD",
        head="line,terminal,permitted_networks,fingerprint",
    )
    assert told == [
        'meterd.toml:21: listener.gprs.permitted_networks: "10.1.2.3/8" is no network, as '
        '"10.20.0.0/16" is; write "10.0.0.0/8"',
        'terminals.csv:2: permitted_networks: "10.1.0.0/8" is no network, as "10.20.0.0/16" is; '
        'write "10.0.0.0/8"',
        'terminals.csv:3: permitted_networks: "everywhere" is no network, as "10.20.0.0/16" is',
        'terminals.csv:4: fingerprint: "AB:CD" is no SHA-256 fingerprint: 64 hexadecimal digits, '
        'as "openssl x509 -noout -fingerprint -sha256" prints them',
    ]


def test_a_fingerprint_that_nobody_asks_for_is_told(tmp_path: Path) -> None:
    (told,) = mistakes(
        tmp_path,
        LISTENER,
        f"dtu-1,8601,{'ab' * 32}",
        head="line,terminal,fingerprint",
    )
    assert "terminals.csv has the fingerprint of terminal 8601's certificate" in told
    assert "set tls_client_ca" in told


def test_plain_text_is_trusted_for_trips_by_the_name_of_a_listener_alone(tmp_path: Path) -> None:
    (told,) = mistakes(tmp_path, LISTENER + '[control]\ntrips_over_plain_text = ["gprss"]\n')
    assert told.endswith("control.trips_over_plain_text: no listener gprss (did you mean gprs?)")


def test_ten_thousand_rows_cost_what_ten_times_a_thousand_do(tmp_path: Path) -> None:
    def read_rows(count: int) -> None:
        found = site(tmp_path, LISTENER, *(f"dtu-{n},{n:015}" for n in range(count)))
        assert len(found.terminals["gprs"]) == count

    assert growth(read_rows, 1_000, 10_000, rounds=3) < 2 * 10


def test_every_mistake_of_a_list_is_told_at_its_row(tmp_path: Path) -> None:
    rows = (
        "dtu-1,8601",
        "dtu-1,8602",
        "dtu-3,8601",
        "hall,8604",
        "plugs,8605",
        "gprs,8606",
        "a b,8607",
        "dtu-8,电",
        ",",
    )
    assert mistakes(tmp_path, LISTENER, *rows) == [
        "terminals.csv:3: line: dtu-1 is the name of a line at terminals.csv:2 already",
        "terminals.csv:4: terminal: 8601 is line dtu-1 already",
        "terminals.csv:5: line: hall is a line of meterd.toml already",
        "terminals.csv:6: line: plugs is a gateway of meterd.toml already",
        "terminals.csv:7: line: gprs is a listener of meterd.toml already",
        'terminals.csv:8: line: "a b" is no name of a line: letters, digits, ".", "_" and "-"',
        "terminals.csv:9: terminal: '电' is not 1 to 64 letters, digits and signs without blanks",
    ]


def test_lists_of_two_listeners_share_no_line(tmp_path: Path) -> None:
    other = LISTENER.replace("gprs", "nb-iot").replace("9000", "9001")
    assert mistakes(tmp_path, LISTENER + other, "dtu-1,8601") == [
        "terminals.csv:2: line: dtu-1 is the name of a line at terminals.csv:2 already"
    ]


@pytest.mark.parametrize(
    ("words", "row", "told"),
    [
        (
            '{ hex = "EB90 {id:2} 16" }',
            "dtu-1,00A",
            '"00A" is not 4 hexadecimal digits, as the registration has',
        ),
        ('{ text = "{id:4}" }', "dtu-1,860", '"860" is not 4 characters, as the registration has'),
    ],
)
def test_an_id_that_no_registration_can_carry_is_told(
    tmp_path: Path, words: str, row: str, told: str
) -> None:
    toml = LISTENER.replace('{ text = "REG:{id}\\r\\n" }', words)
    assert mistakes(tmp_path, toml, row) == [f"terminals.csv:2: terminal: {told}"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            'name = "gprs"',
            'name = "hall"',
            "meterd.toml:17: listener.hall: two lines have this name",
        ),
        (
            '"terminals.csv"',
            '"none.csv"',
            "none.csv:1: file: cannot be read: No such file or directory",
        ),
        (
            'registration = { text = "REG:{id}\\r\\n" }',
            'registration = "REG"',
            'listener.gprs.registration: is given as { hex = "..." }, { text = "..." } or '
            '{ regex = "..." }',
        ),
        ("\nlisten", '\nheartbeat_answer = "echo"\nlisten', "heartbeat_answer needs heartbeat"),
        ("\nlisten", "\nsilent_s = 5\nlisten", "silent_s must be 0 (never) or at least 10"),
        ("\nlisten", '\ntls_key = "k"\nlisten', "tls_certificate and tls_key go together"),
        (
            "\nlisten",
            '\ntls_client_ca = "k"\nlisten',
            "tls_client_ca needs tls_certificate and tls_key",
        ),
        (
            "\nlisten",
            '\nheartbeat = { hex = "F" }\nlisten',
            'heartbeat: "F" is not pairs of hexadecimal digits',
        ),
        (
            "\nlisten",
            "\nsilent = 5\nlisten",
            "listener.gprs.silent: unknown key (did you mean silent_s?)",
        ),
        (
            "\nlisten",
            '\nregistration_answer = { regex = "a" }\nlisten',
            "an expression cannot be sent",
        ),
    ],
)
def test_a_mistake_in_the_listener_is_told_with_the_others(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    found = mistakes(
        tmp_path, LISTENER.replace(old, new), meters=("000000000001,nowhere,P1,2026-01-01",)
    )
    assert any(told in line for line in found), found
    assert any("no [[line]] or terminal named nowhere" in line for line in found), found


def test_a_certificate_that_does_not_fit_its_key_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        command = ("openssl", "req", "-x509", *curve, "-nodes", "-subj", "/CN=x", *files)
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    right = LISTENER + 'tls_certificate = "a.pem"\ntls_key = "a.key"\n'
    assert site(tmp_path, right).settings.listener[0].tls_certificate == tmp_path / "a.pem"
    (told,) = mistakes(tmp_path, right.replace("a.key", "b.key"))
    assert told.startswith(
        "meterd.toml:21: listener.gprs.tls_certificate: cannot be used with its key and authority: "
    )
    (told,) = mistakes(tmp_path, right.replace("a.key", "c.key"))
    assert told.endswith("No such file or directory")


@pytest.mark.parametrize(
    ("kind", "words", "told"),
    [
        ("hex", "EB90 16", "has no {id:N}"),
        ("hex", "EB90 {id} 16", "is neither pairs of hexadecimal digits nor {id:N} nor {N}"),
        ("hex", "EB9 {id:6}", "is neither pairs"),
        ("hex", "{id:6}{id:6}", "has more than one {id:N}"),
        ("hex", "{id:0}", "at least one byte"),
        ("text", "REG", "needs one {id}"),
        ("text", "{id},{id};", "needs one {id}"),
        ("text", "REG:{id}", "nothing follows {id}, so its end is not known"),
        ("regex", "REG", "has no group named id"),
        ("regex", "(?P<id>[0-9]{0,15})(?:;)?$", "matches nothing at all"),
        ("regex", "REG(?P<id>[0-9]+)", "ends with a repetition"),
        ("regex", "REG(?P<id>[0-9]{4,15})$", "ends with a repetition"),
        ("regex", r"(?P<id>a)\1x", "is no regular expression: invalid escape sequence"),
        ("regex", "(?=a)(?P<id>.)x", "is no regular expression: invalid perl operator"),
        ("regex", "(?P<id>((a?){100}){90})x", "is no regular expression"),
        ("regex", f"(?P<id>[0-9]{{15}}){'x' * 512}", "is longer than 512 characters"),
        ("regex", "(?P<id>[", "is no regular expression: missing ]"),
        ("regex", "电(?P<id>.{3})", "beyond one byte"),
    ],
)
def test_a_registration_that_cannot_work_is_refused(kind: str, words: str, told: str) -> None:
    with pytest.raises(ValueError) as refusal:
        registration(kind, words)  # type: ignore[arg-type]
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "words", "said", "found"),
    [
        ("hex", "EB90 {id:3} {2} 16", "EB90 16AB90 0102 16 FE", ("16AB90", 8)),
        ("hex", "EB90 {id:3} 16", "EB90 16AB90 17", None),
        ("text", '{"imei":"{id}"}', b'{"imei":"8601"}{'.hex(), ("8601", 15)),
        ("text", "ID={id};", b"ID=a;b;".hex(), ("a", 5)),
        ("text", "{id:4}", b"8601860".hex(), ("8601", 4)),
        ("text", "{id:4}", b"860 ".hex(), None),
        ("regex", r"\xEB\x90(?P<id>[0-9]+);", "EB90" + b"8601;".hex(), ("8601", 7)),
        ("regex", r"(?P<id>..);", "0102" + b";".hex(), None),
        ("regex", r"\++(?P<id>[0-9]{2})", b"+++12".hex(), ("12", 5)),
    ],
)
def test_a_registration_is_read(
    kind: str, words: str, said: str, found: tuple[str, int] | None
) -> None:
    assert registration(kind, words).read(bytes.fromhex(said)) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words",
    [
        "a.*.*(?P<id>x)",
        ".*,.*(?P<id>[0-9]{15})",
        "(?P<id>(a+)+)x",
        f"(?P<id>{'a?' * 22}{'a' * 22})x",
        f"(?P<id>{'.*' * 20})x",
    ],
)
def test_no_bytes_make_a_registration_slow(words: str) -> None:
    """It grows with what was said."""
    form = registration("regex", words)

    def read(length: int) -> None:
        for said in (b"a" * length, b"," * length):
            assert form.read(said) is None

    assert growth(read, LONGEST_REGISTRATION // 4, LONGEST_REGISTRATION, rounds=20) < 2 * 4


@pytest.mark.parametrize(
    ("kind", "words", "told"),
    [
        ("text", "", "is empty"),
        ("hex", "00" * 65, "longer than 64 bytes"),
        ("regex", "a*", "matches nothing at all"),
    ],
)
def test_a_heartbeat_that_cannot_work_is_refused(kind: str, words: str, told: str) -> None:
    with pytest.raises(ValueError) as refusal:
        heartbeat(kind, words)  # type: ignore[arg-type]
    assert told in str(refusal.value)
