"""Names of serial ports that survive unplugging."""

import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon.cli import cli, main
from daemon.field.serial_ports import (
    holders,
    is_unstable,
    ports_in_use,
    stable_name,
    unstable_in_words,
)

EXAMPLE = Path(__file__).parents[3] / "config" / "example"


@pytest.mark.parametrize("device", ["/dev/ttyUSB0", "/dev/ttyACM12"])
def test_a_name_that_counts_adapters_is_unstable(device: str) -> None:
    assert is_unstable(device)


@pytest.mark.parametrize(
    "device", ["/dev/ttyS0", "/dev/serial/by-id/usb-FTDI-if00", "/dev/ttyUSB", "/dev/pts/3"]
)
def test_other_names_are_not(device: str) -> None:
    assert not is_unstable(device)


def test_the_stable_name_of_a_port_is_the_link_that_leads_to_it(tmp_path: Path) -> None:
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    for name in ("one", "two"):
        (tmp_path / name).touch()
        (by_id / f"usb-{name}").symlink_to(tmp_path / name)
    assert stable_name(str(tmp_path / "two"), by_id) == str(by_id / "usb-two")
    assert stable_name(str(tmp_path / "three"), by_id) is None
    assert stable_name(str(tmp_path / "one"), tmp_path / "nothing") is None
    assert unstable_in_words(str(tmp_path / "one"), by_id).endswith(f"write {by_id / 'usb-one'}")
    assert "meterd ports" in unstable_in_words("/dev/ttyUSB9", by_id)


def test_who_has_a_port_open_is_named(tmp_path: Path) -> None:
    port = tmp_path / "port"
    port.touch()
    assert holders(str(port)) == []
    with port.open():
        (holder,) = holders(str(port))
    assert holder.endswith(f" {os.getpid()}")


def test_a_port_that_only_a_line_names_is_listed_with_the_line(tmp_path: Path) -> None:
    there = tmp_path / "pty"
    there.touch()
    gone = tmp_path / "gone"
    ports = ports_in_use([("a", str(there)), ("b", str(gone)), ("c", str(there))])[-2:]
    assert [(use.port.device, use.port.what, use.lines) for use in ports] == [
        (str(there), "", ["a", "c"]),
        (str(gone), "not there: unplugged?", ["b"]),
    ]


def test_check_warns_of_names(tmp_path: Path) -> None:
    # A short name: the folder of an embedded database has 82 letters at the most.
    shutil.copytree(EXAMPLE, tmp_path / "s")
    file = tmp_path / "s" / "meterd.toml"
    file.write_text(re.sub(r'(?m)^serial = ".*"', 'serial = "/dev/ttyUSB0"', file.read_text()))
    told = CliRunner().invoke(cli, ["check", "-c", str(file)])
    assert told.exit_code == 0, told.output
    assert (
        "warning: line bus-1: /dev/ttyUSB0 may be another adapter after the next start"
        in told.stderr
    )


def test_ports_are_listed_beside_a_site_with_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METERD_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    without = CliRunner().invoke(cli, ["ports"])
    assert (without.exit_code, without.stderr) == (0, "")
    Path("meterd.toml").write_text("[[[")
    for arguments in (["ports"], ["ports", "-c", "meterd.toml"]):
        told = CliRunner().invoke(cli, arguments)
        assert (told.exit_code, told.stdout) == (0, without.stdout)
        assert told.stderr == (
            "warning: meterd.toml cannot be read as a site (meterd check says why); "
            "the column lines is empty\n"
        )


@pytest.mark.parametrize(
    "environment", [{}, {"METERD_CONFIG": "nothing.toml"}], ids=["option", "environment"]
)
def test_ports_of_a_site_that_was_named_and_is_not_there_are_an_error(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("METERD_CONFIG", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["ports"] if environment else ["ports", "-c", "nothing.toml"])
    assert ended.value.code == 78
    assert "nothing.toml:1: file: cannot be read" in capsys.readouterr().err
