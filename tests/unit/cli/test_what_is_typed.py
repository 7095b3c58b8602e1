"""Days, months and numbers that nobody can mean, and streams that nobody reads, end in a word."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon.cli import cli
from tests.servers.commands import METERD

SITE = """
[site]
name = "s"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "archive"
tariffs = "tariffs.toml"
"""
TARIFF = '[[version]]\neffective_from = 2026-01-01\nprice = "0.5"\n'


@pytest.mark.parametrize(
    "arguments",
    [
        "explain day A1 9999-12-31",
        "explain day A1 0001-01-01",
        "explain day A1 ２０２６-03-01",
        "quality show P1 9999-12-31",
        "account open A1 --agreement a --from 0001-01-01",
        "account statement A1 --month 9999-12",
        "account statement A1 --month 2026-03-01",
        "ledger close 0001-01",
        "prove A1 2026-13",
        "collect P1 --day 9999-12-31",
    ],
)
def test_a_day_or_month_that_is_none_is_wrong_use(arguments: str) -> None:
    done = CliRunner().invoke(cli, arguments.split())
    assert done.exit_code == 2
    assert "from 1970 to 2199, write " in done.stderr


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("25.11.2026", "write 2026-11-25"),
        ("2026/11/25", "write 2026-11-25"),
        ("2026-11-31", "the calendar has no such day"),
        ("9999-12-31", "write it as 2026-03-12"),
        ("yesterday", "write the year first, as 2026-03-01"),
    ],
)
def test_the_day_that_was_meant_is_told(typed: str, told: str) -> None:
    done = CliRunner().invoke(cli, ["explain", "day", "A1", typed])
    assert done.stderr.endswith(f"{typed!r} is no day from 1970 to 2199, {told}\n")


@pytest.mark.parametrize("name", ["daemon", " \uff24aemon "])
def test_nobody_acts_as_the_daemon(name: str) -> None:
    done = CliRunner().invoke(cli, ["supply", "order", "agree", "1", "--actor", name])
    assert done.exit_code == 2
    assert "is the name of no person" in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        f"account list --limit {2**63}",
        f"explain charge {2**63}",
        f"prove A1 2026-03 --head {2**63}",
        "quality list --age 4000000000",
    ],
)
def test_a_number_too_large_for_anything_is_wrong_use(arguments: str) -> None:
    done = CliRunner().invoke(cli, arguments.split())
    assert (done.exit_code, "is not in the range" in done.stderr) == (2, True)


def test_bills_go_into_no_folder_that_cannot_be_made(tmp_path: Path) -> None:
    site = tmp_path / "meterd.toml"
    site.write_text(SITE)
    done = CliRunner().invoke(
        cli, ["prove", "A1", "2026-03", "--to", str(site / "bills"), "-c", str(site)]
    )
    assert done.exit_code == 2
    assert "Not a directory" in done.stderr


def show(tmp_path: Path, to: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "t.toml").write_text(TARIFF)
    line = f'"{METERD}" tariff show t.toml {to}'
    return subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)


def test_what_nobody_reads_is_written_nowhere(tmp_path: Path) -> None:
    done = show(tmp_path, "<&- >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    done = show(tmp_path, "> /dev/full")
    assert (done.returncode, done.stderr) == (
        1,
        "meterd: cannot write: No space left on device\n",
    )


NO_NUMBERS = ("1_000", "1e3", "１００", "٣", "0x10", "1,000", "+5", "nan", "inf", " ")


@pytest.mark.parametrize("number", NO_NUMBERS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("topup", "A1", "{}", "--key", "k"),
        ("account", "bonus", "A1", "{}", "--from", "2026-03-01", "--reason", "r"),
        ("account", "list", "--limit", "{}"),
        ("meter", "ratio", "P1", "--ratio", "{}", "--reason", "r"),
        ("trace", "l", "--seconds", "{}"),
        ("read", "--tcp", "127.0.0.1:1", "--meter", "any", "--retries", "{}"),
        ("read", "--tcp", "127.0.0.1:1", "--meter", "any", "--timeout", "{}"),
        ("explain", "charge", "{}"),
    ],
    ids=lambda it: " ".join(it[:3]),
)
def test_a_number_is_ascii_digits_with_one_point(arguments: tuple[str, ...], number: str) -> None:
    done = CliRunner().invoke(cli, [word.format(number) for word in arguments])
    assert done.exit_code == 2, done.output
    assert "Error: Invalid value" in done.stderr


@pytest.mark.parametrize("key", ["  ", "x" * 5000, "a:b", "a\x1bb"])
def test_a_key_of_a_payment_can_be_read_and_copied(key: str) -> None:
    done = CliRunner().invoke(cli, ["topup", "A1", "10", "--key", key])
    assert (done.exit_code, "1 to 200 printable characters" in done.stderr) == (2, True)


@pytest.mark.parametrize("rights", ["a file", "no right to write"])
def test_a_data_directory_that_cannot_be_used_is_told(tmp_path: Path, rights: str) -> None:
    data = tmp_path / "data"
    if rights == "a file":
        data.touch()
    else:
        data.symlink_to("/proc/self/net")
    (tmp_path / "meterd.toml").write_text(
        SITE + '[[line]]\nname = "l"\ntcp = "127.0.0.1:1"\n[http]\nlisten = "127.0.0.1:0"\n'
    )
    (tmp_path / "tariffs.toml").write_text(TARIFF)
    (tmp_path / "archive").mkdir()
    for name, head in {
        "meters": "address,line,point,installed_on",
        "points": "point,account",
        "accounts": "account,tariff",
    }.items():
        (tmp_path / "archive" / f"{name}.csv").write_text(head + "\n")
    done = subprocess.run(
        [METERD, "run", "-c", "meterd.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "look at its path and rights" in done.stderr
