"""The mistakes of mistakes.toml, one by one: each is told with its file, its line and what to write.

Every line that `meterd check` prints is compared, so that nothing is told twice and nothing
besides."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from config.translation import words_of
from daemon.cli.check import check

MISTAKES: Final[list[dict[str, Any]]] = tomllib.loads(
    (Path(__file__).parent / "mistakes.toml").read_text(encoding="utf-8")
)["mistake"]
HAN: Final = re.compile("[\u4e00-\u9fff]")
SITE: Final = {
    "meterd.toml": """\
[site]
name = "house"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "archive"
tariffs = "tariffs.toml"

[[line]]
name = "gate-1"
tcp = "127.0.0.1:7001"

[[line]]
name = "bus-1"
serial = "/dev/ttyS9"
baud = 2400

[[gateway]]
name = "g"
broker = { host = "127.0.0.1" }

[[listener]]
name = "gprs"
listen = "127.0.0.1:9000"
terminals = "terminals.csv"
registration = { text = "REG:{id}\\r\\n" }
heartbeat = { text = "PING" }

[collection]
backfill_days = 31

[control]
mode = "shadow"
window_start = "09:00"

[http]
listen = "127.0.0.1:9645"

[log]
level = "info"
""",
    "tariffs.toml": """\
[[tariff.home.version]]
effective_from = 2026-01-01
price = "0.5283"
""",
    "terminals.csv": "line,terminal\ndtu-1,0001\n",
    "archive/accounts.csv": "account,tariff,open_from,agreement,warn_yuan,trip_yuan,reconnect_yuan,credit_limit_yuan\nA1,home,2026-10-01,signed,30,0,5,0\nA2,home,,,,,,\n",
    "archive/points.csv": "point,account,ratio,max_daily_kwh,protected,reconnect,phases,residual_rate\nP1,A1,1,100,,allow_close,1,flat\nP2,A2,60,,yes,,,\nP3,,,,,,,\n",
    "archive/meters.csv": "address,line,point,installed_on,protocol,modulus_kwh,decimals\n000000000001,gate-1,P1,2026-01-01,dlt645-2007,1000000,2\n000000000002,bus-1,P2,2026-01-01,,,\n000000000003,dtu-1,P3,2026-01-01,,,\n",
}


def write(folder: Path, mistake: dict[str, Any] | None = None) -> Path:
    """The site with a mistake in it: another text, a whole other file, or none."""
    for name, text in SITE.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if mistake is None or mistake["file"] != name:
            path.write_text(text, encoding="utf-8")
        elif "old" in mistake:
            assert mistake["old"] in text
            path.write_text(text.replace(mistake["old"], mistake["new"], 1), encoding="utf-8")
        elif "new" in mistake:
            path.write_text(mistake["new"], encoding="utf-8")
    return folder / "meterd.toml"


def test_the_site_itself_has_no_mistake(tmp_path: Path) -> None:
    told = CliRunner().invoke(check, ["-c", str(write(tmp_path))])
    assert told.exit_code == 0, told.stderr


def test_there_are_as_many_as_were_asked_for() -> None:
    kinds = Counter(Path(it["file"]).suffix for it in MISTAKES)
    assert kinds[".toml"] >= 77
    assert kinds[".csv"] >= 40


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda it: it["told"][0])
def test_a_mistake_is_told(tmp_path: Path, mistake: dict[str, Any]) -> None:
    told = CliRunner().invoke(check, ["-c", str(write(tmp_path, mistake))])
    assert isinstance(told.exception, SystemExit), told.exception
    assert told.exit_code == 78
    assert told.stdout == ""
    *lines, count = told.stderr.replace(f"{tmp_path}/", "").splitlines()
    assert lines == mistake["told"]
    assert count == f"{len(lines)} mistake{'s' * (len(lines) > 1)}"
    words = words_of("zh")
    messages = [line.split(": ", 2)[2] for line in lines]
    assert not [it for it in messages if not HAN.search(words(it))]
