"""Notices from the installed daemon to a receiver that is another process, and receipts back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from daemon.sending.signature import SIGNATURE, TIMESTAMP, is_signed, signature
from tests.acceptance.stage import POOR, Stage, end, stage
from tests.servers import commands

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
KEY: Final = "a key that both know"
ZONES: Final = (
    *("Asia/Shanghai", "Europe/Berlin", "America/New_York", "Pacific/Honolulu"),
    *("Pacific/Auckland", "Asia/Kolkata", "America/Los_Angeles", "America/Sao_Paulo"),
)
FEW_DAYS: Final = 6
WHERE: Final = f"C{int(POOR)}"
SECRET_ADDRESS: Final = "13800001111"


WAITING: Final = "SELECT kind, tries, error FROM notice_to_send JOIN notice ON id = notice_id"
RECEIPT: Final = "SELECT receipt FROM notice WHERE kind = 'written'"


def zone_by_day() -> str:
    """Where it is between nine and six o'clock: nobody is told anything at night."""
    now = datetime.now(UTC)
    return next(it for it in ZONES if 9 <= now.astimezone(ZoneInfo(it)).hour < 18)


class Receiver:
    """What was posted to another process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"

    def answer(self, status: int) -> None:
        (self.folder / "status").write_text(str(status))

    def posted(self) -> list[dict[str, Any]]:
        paths = sorted(self.folder.glob("*.json"), key=lambda path: int(path.stem))
        return [json.loads(path.read_text()) for path in paths]

    def notices(self) -> list[dict[str, Any]]:
        """What came over the webhook, each signed."""
        found = []
        for it in self.posted():
            if it["path"] == "/app":
                body = it["body"].encode()
                headers = it["headers"]
                assert is_signed(KEY, headers[TIMESTAMP], headers[SIGNATURE], body, time.time())
                found.append(json.loads(body))
        # Before the first day is billed the balance may be low, which is warned of.
        return [it for it in found if it["kind"] != "warning"]


def over_apprise_of(told: Receiver) -> list[dict[str, Any]]:
    """What came over apprise, without warnings."""
    found = [it for it in told.posted() if it["path"] == f"/sms/{SECRET_ADDRESS}"]
    return [it for it in found if "停电前最后通知" in json.loads(it["body"])["title"]]


@contextmanager
def receiver(folder: Path) -> Iterator[Receiver]:
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.notice_receiver", "0", str(folder)],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        with process.stdout:
            yield Receiver(folder, int(process.stdout.readline()))
    finally:
        end(process)


def prepare(staged: Stage, told: Receiver) -> None:
    """Two ways to reach the poor customer, one the rich one."""
    (staged.folder / "key").write_text(KEY)
    (staged.folder / "webhook").write_text(f"{told.url}/app")
    (staged.folder / "apprise").write_text(f"{told.url.replace('http', 'json')}/sms/{{address}}")
    site = staged.site.read_text()
    for old, new in (
        ("written_notice_required = false", "written_notice_required = true"),
        ("final_notice_required = false", "final_notice_required = true"),
        ("[control]", "[control]\nwritten_notice_min_h = 0\nfinal_notice_min_min = 0"),
    ):
        assert old in site
        site = site.replace(old, new)
    staged.site.write_text(
        site
        + """
[notices]
how_to_pay_zh = "营业厅"
how_to_complain_zh = "12345"

[[notice_channel]]
name = "app"
webhook = { file = "webhook" }
key = { file = "key" }

[[notice_channel]]
name = "sms"
apprise = { file = "apprise" }
"""
    )
    (staged.folder / "contacts.csv").write_text(
        "account,channel,address,consent,order\n"
        f"{WHERE},app,user-3,yes,1\n{WHERE},sms,{SECRET_ADDRESS},yes,2\n"
    )
    staged.meterd("check")
    staged.meterd("contact", "import")
    assert staged.ask("SELECT count(*) FROM act WHERE command LIKE %s", "% contact import%") == [
        (1,)
    ]


def post_receipt(staged: Stage, body: dict[str, Any], *, key: str = KEY) -> int:
    content = json.dumps(body).encode()
    stamp = str(int(time.time()))
    request = urllib.request.Request(
        f"http://127.0.0.1:{staged.http_port}/receipts",
        content,
        {TIMESTAMP: stamp, SIGNATURE: signature(key, stamp, content)},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def receipt(notice: int, state: str = "delivered") -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"channel": "app", "receipts": [{"notice": notice, "state": state, "at": at}]}


def test_notices_go_out_receipts_come_back_and_who_paid_is_left_alone(
    database_url: str, tmp_path: Path
) -> None:
    with (
        receiver(tmp_path / "received") as told,
        stage(tmp_path / "site", database_url, days=FEW_DAYS, zone=zone_by_day()) as staged,
    ):
        prepare(staged, told)
        staged.start_daemon()
        staged.until("a written notice", lambda: len(told.notices()) == 1)
        (written,) = told.notices()
        assert (written["kind"], written["account"], written["address"]) == (
            *("written", WHERE, "user-3"),
        )
        for words in ("营业厅", "12345", "复电"):
            assert words in written["text"]
        assert written["amount_fen"] > 0

        # Whoever has not the key tells nothing, and who has it tells it once.
        assert post_receipt(staged, receipt(written["notice"]), key="guessed") == 401
        assert post_receipt(staged, {"channel": "app", "receipts": 5}) == 400
        assert staged.ask("SELECT delivered_at FROM notice") == [(None,)]
        for _ in range(2):
            assert post_receipt(staged, receipt(written["notice"])) == 200
        ((actor,),) = staged.ask("SELECT receipt_actor FROM notice WHERE delivered_at IS NOT NULL")
        assert actor == "channel app"

        staged.until("a final notice", lambda: len(told.notices()) == 2)
        final = told.notices()[1]
        assert final["kind"] == "final"
        planned = datetime.fromisoformat(final["planned_at"])
        assert planned > datetime.now(UTC)
        # It bounces: the next way is tried, and the customer's address stands in no log.
        assert post_receipt(staged, receipt(final["notice"], "bounced")) == 200
        staged.until("the other way", lambda: bool(over_apprise_of(told)))
        (over_apprise,) = over_apprise_of(told)
        assert WHERE in json.loads(over_apprise["body"])["message"]
        staged.until(
            "all is sent", lambda: staged.ask("SELECT count(*) FROM notice_to_send") == [(0,)]
        )
        assert json.loads(staged.meterd("contact", "list", "--stale", "--json"))["channel"] == "app"

        # A restart tells nobody anything again, and a payment ends it.
        staged.stop_daemon()
        staged.start_daemon()
        staged.until("it runs again", lambda: staged.health()["notices"]["last_success"])
        posted = len(told.posted())
        staged.meterd("topup", WHERE, "500", "--key", "R1")
        looked = staged.health()["notices"]["last_success"]
        staged.until(
            "it has looked again",
            lambda: staged.health()["notices"]["last_success"] > looked,
        )
        assert len(told.posted()) == posted
        assert SECRET_ADDRESS not in staged.log()
        assert staged.control_frames() == []


def test_what_a_channel_refuses_for_now_waits_and_is_not_sent_to_who_paid(
    database_url: str, tmp_path: Path
) -> None:
    with (
        receiver(tmp_path / "received") as told,
        stage(tmp_path / "site", database_url, days=FEW_DAYS, zone=zone_by_day()) as staged,
    ):
        told.answer(503)
        prepare(staged, told)
        staged.start_daemon()
        refused = ("written", 1, "webhook answered 503")
        staged.until("it was not taken", lambda: refused in staged.ask(WAITING))
        staged.until("health shows it", lambda: staged.health()["notices"]["waiting"] >= 1)
        assert staged.meterd("topup", WHERE, "500", "--key", "R1")
        told.answer(204)
        staged.until(
            "it is withdrawn",
            lambda: staged.ask(RECEIPT) == [("not due any more",)],
            patience_s=150,
        )
        assert [it["kind"] for it in told.notices()] == ["written"]


def test_ways_that_are_added_by_a_reload_are_used_at_once(
    database_url: str, tmp_path: Path
) -> None:
    with (
        receiver(tmp_path / "received") as told,
        stage(tmp_path / "site", database_url, days=FEW_DAYS, zone=zone_by_day()) as staged,
    ):
        prepare(staged, told)
        contacts = staged.folder / "contacts.csv"
        whole, reached = staged.site.read_text(), contacts.read_text()
        staged.site.write_text(whole[: whole.index("[[notice_channel]]")])
        contacts.unlink()
        staged.start_daemon()
        staged.until("all is collected", lambda: staged.slots_missing() == 0)
        staged.site.write_text(whole)
        contacts.write_text(reached)
        (staged.folder / "apprise").write_text("nobody-knows-this://{address}")
        assert "apprise knows no such URL" in _refused(staged)
        assert told.posted() == []
        (staged.folder / "apprise").write_text(
            f"{told.url.replace('http', 'json')}/sms/{{address}}"
        )
        done = json.loads(staged.meterd("reload", "--json"))
        assert {"notice_channel.app", "notice_channel.sms"} <= set(done["settings"])
        assert not any("notice_channel" in key for key in done["needs_restart"])
        staged.until("a notice", lambda: len(told.notices()) == 1)
        (written,) = told.notices()
        assert post_receipt(staged, receipt(written["notice"])) == 200


def _refused(staged: Stage) -> str:
    done = subprocess.run(
        [commands.METERD, "reload", "-c", str(staged.site)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr
