"""A first site is asked for, written whole, and can be used as it is."""

from __future__ import annotations

import os
import subprocess
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from config.first_site import NewLine, NewSite, files_of
from config.load import load_site
from daemon.cli.init import init
from daemon.cli.output import BAD_CONFIG, FAILED, USAGE
from tests.servers.commands import METERD

SAID = [
    *("--name", "Market 3", "--zone", "Asia/Shanghai", "--price", "0.6"),
    *("--serial", "bus-1=/dev/ttyUSB0,9600", "--tcp", "gate-1=10.0.0.9:7001"),
    *("--meter", "bus-1=000000003101", "--meter", "gate-1=000000001101"),
    *("--since", "2026-11-01"),
]


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(init, [str(folder), *options])


def test_what_was_said_is_the_site(tmp_path: Path) -> None:
    place = tmp_path / "new" / "market"
    done = run(place, *SAID)
    assert done.exit_code == 0, done.output
    site = load_site(place / "meterd.toml")
    assert site.settings.site.name == "Market 3"
    assert [line.name for line in site.settings.line] == ["bus-1", "gate-1"]
    assert site.settings.control.mode == "shadow"
    meters = {meter.address: (meter.line, meter.installed_on) for meter in site.archive.meters}
    since = date(2026, 11, 1)
    assert meters == {"000000003101": ("bus-1", since), "000000001101": ("gate-1", since)}
    assert sorted(path.name for path in place.parent.iterdir()) == ["market"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = run(tmp_path, *SAID)
    assert done.exit_code == FAILED
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_check_refuses_is_not_written(tmp_path: Path) -> None:
    done = run(tmp_path / "new", *SAID, "--meter", "gate-1=11", "--meter", "gate-9=000000001102")
    assert done.exit_code == BAD_CONFIG
    assert '"11" is not 12 digits' in done.output
    assert "gate-9" in done.output
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "x"], "say --zone"),
        (["--serial", "/dev/ttyUSB0"], "write LINE=..."),
        (["--serial", "b=/dev/ttyUSB0,fast"], "fast is no number of baud"),
        (["--serial", "b=/dev/ttyUSB0,"], "nothing is no number of baud"),
    ],
)
def test_what_is_missing_or_written_otherwise_is_said(
    tmp_path: Path, options: list[str], said: str
) -> None:
    rest = (
        ["--zone", "Asia/Shanghai", "--price", "1", "--name", "x"]
        if "--name" not in options
        else []
    )
    done = run(tmp_path / "new", *options, *rest)
    assert done.exit_code == USAGE
    assert said in done.output


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_name_is_read_back_as_it_was_said(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    shown = " ".join(name.split())
    if not shown.isprintable() or not shown:
        return
    folder = tmp_path_factory.mktemp("site")
    line = NewLine("gate-1", "127.0.0.1:7001", None)
    site = NewSite(name, "UTC", [line], [("gate-1", "000000001101")], "1", date(2026, 11, 1))
    for path, text in files_of(site).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    assert load_site(folder / "meterd.toml").settings.site.name == shown


def test_what_no_option_says_is_asked_for_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    place = tmp_path / "asked"
    answers = ["Market 4", "", "0.7", "10.0.0.9:7001", "/dev/ttyUSB0", "none"]
    meters = ["000000001101 000000001102", "000000003101"]
    with subprocess.Popen(
        [METERD, "init", str(place), "--since", "2026-11-01"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as asking:
        os.write(ours, "".join(f"{answer}\n" for answer in [*answers, *meters]).encode())
        assert asking.stdout is not None
        told = asking.stdout.read().decode()
    os.close(ours)
    os.close(theirs)
    assert asking.returncode == 0, told
    site = load_site(place / "meterd.toml")
    assert site.settings.site.zone.key == "Asia/Shanghai"
    assert [line.name for line in site.settings.line] == ["line-1", "line-2"]
    assert {meter.address: meter.line for meter in site.archive.meters} == {
        "000000001101": "line-1",
        "000000001102": "line-1",
        "000000003101": "line-2",
    }
