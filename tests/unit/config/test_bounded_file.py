"""Only files are read, and no more of them than can be meant."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.bounded_file import read_file
from config.load import load_site
from config.problems import ConfigError
from config.secret import read_secret
from config.toml_lines import parse_toml
from daemon.cli import cli

MEBIBYTE = 1024 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(5 * 1024 * MEBIBYTE)
    (tmp_path / "site.toml").write_text('[site]\nzone = "Asia/Shanghai"\ndata_directory = "data"\n')
    return tmp_path


WHAT = {
    "pipe": "it is a device, a pipe or a socket, no file",
    "zero": "it is a device, a pipe or a socket, no file",
    "huge": "it has more than",
}
COMMANDS = (
    "check -c {}",
    "plan -c {}",
    "reload -c {}",
    "topup A1 10 --key k -c {}",
    "simulate {}",
    "tariff check {}",
    "tariff try {}",
    "quality try {}",
    "rehearse --tariff {} --months 1 -c site.toml",
    "decode --file {}",
    "read --protocol modbus-tcp --profile ./{} --tcp 127.0.0.1:1 --unit 1 --quantity energy",
)


@pytest.mark.parametrize("name", WHAT)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_refuses_what_is_no_file_or_too_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / f"{name}.toml").symlink_to(name)
    done = CliRunner().invoke(cli, command.format(f"{name}.toml").split())
    assert done.exit_code != 0
    assert WHAT[name] in str(done.exception) + done.stderr


def test_a_file_of_the_most_bytes_is_read_and_one_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MEBIBYTE)
    assert len(read_file(path, MEBIBYTE)) == MEBIBYTE
    path.write_bytes(b"x" * (MEBIBYTE + 1))
    with pytest.raises(OSError, match="more than 1 MiB"):
        read_file(path, MEBIBYTE)


@pytest.mark.parametrize("name", WHAT)
@pytest.mark.parametrize("table", ["meters.csv", "points.csv", "terminals.csv", "tariffs.toml"])
def test_a_file_that_the_site_names_is_one_too(folder: Path, table: str, name: str) -> None:
    (folder / table).symlink_to(name)
    (folder / "meterd.toml").write_text(
        '[site]\nname = "s"\nzone = "Asia/Shanghai"\ndata_directory = "data"\narchive = "."\n'
        'tariffs = "tariffs.toml"\n[[listener]]\nname = "d"\nlisten = "127.0.0.1:7001"\n'
        'terminals = "terminals.csv"\nregistration = { text = "R{id:4}" }\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_site(folder / "meterd.toml")
    assert any(it.file == table and WHAT[name] in it.message for it in caught.value.problems)


@pytest.mark.parametrize("name", WHAT)
def test_a_secret_is_kept_in_a_file(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match=WHAT[name]):
        read_secret({"file": name}, folder)


@pytest.mark.parametrize("name", ["pipe", "zero"])
def test_a_certificate_is_a_file(folder: Path, name: str) -> None:
    (folder / "meterd.toml").write_text(
        '[[listener]]\nname = "d"\nlisten = "127.0.0.1:7001"\nterminals = "terminals.csv"\n'
        f'registration = {{ text = "R{{id:4}}" }}\ntls_certificate = "{name}"\ntls_key = "{name}"\n'
        '[site]\nname = "s"\nzone = "Asia/Shanghai"\ndata_directory = "data"\narchive = "."\n'
        'tariffs = "tariffs.toml"\n'
    )
    with pytest.raises(ConfigError, match="it is no file"):
        load_site(folder / "meterd.toml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 100_000, "too many brackets"),
        ("a = " + "{a=" * 100_000, "too many brackets"),
        (".".join("a" * 50_000) + " = 1", "more than 1000 points"),
        ("a = " + "9" * 5000, "is no TOML"),
    ],
)
def test_toml_that_would_take_all_depth_or_time_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_toml(text, "x.toml")
