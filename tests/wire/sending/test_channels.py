"""Channels against a receiver that is another process: what it gets, and what its answers mean."""

import asyncio
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from config.secret import Secret
from config.settings import NoticeChannelSection
from daemon.cli.check import check
from daemon.sending.channels import NotTaken, open_channels, webhook_content
from daemon.sending.signature import SIGNATURE, TIMESTAMP, is_signed
from storage.notices import NoticeToSend
from storage.staff_alarms import StaffCall
from tests.unit.config.test_site import write

KEY = "both know it"
NOTICE = NoticeToSend(
    notice_id=17,
    tries=1,
    account_id=1,
    contact_id=1,
    account="A1",
    kind="final",
    occasion="final 2026-03-12 03:30:00",
    channel="app",
    language="zh",
    text="标题\n正文，余额：-5.00 元",
    amount_fen=500,
    deadline_at=datetime(2026, 3, 12, 3, 30, tzinfo=UTC),
    planned_at=datetime(2026, 3, 12, 3, 30, tzinfo=UTC),
    made_at=datetime(2026, 3, 12, tzinfo=UTC),
    address="+86 138/0000?1111",
)


class Receiver:
    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.place = f"127.0.0.1:{port}"

    def posted(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.notice_receiver", "0", str(tmp_path)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        yield Receiver(tmp_path, int(process.stdout.readline()))
    process.kill()
    process.wait()


def send(timeout_s: float = 5.0, **given: str) -> None:
    secrets: Any = {name: Secret(value) for name, value in given.items()}
    section = NoticeChannelSection.model_construct(name="app", timeout_s=timeout_s, **secrets)
    channel = open_channels([section])["app"]

    async def story() -> None:
        await channel(NOTICE)

    asyncio.run(story())


def test_a_webhook_gets_a_signed_notice(receiver: Receiver) -> None:
    send(webhook=f"http://{receiver.place}/in?a=1", key=KEY)
    (posted,) = receiver.posted()
    body = posted["body"].encode()
    headers = posted["headers"]
    assert posted["path"] == "/in?a=1"
    assert is_signed(KEY, headers[TIMESTAMP], headers[SIGNATURE], body, time.time())
    assert json.loads(body) == {
        "notice": 17,
        "try": 2,
        "kind": "final",
        "account": "A1",
        "channel": "app",
        "address": "+86 138/0000?1111",
        "language": "zh",
        "title": "标题",
        "text": "正文，余额：-5.00 元",
        "amount_fen": 500,
        "deadline_at": "2026-03-12T03:30:00Z",
        "planned_at": "2026-03-12T03:30:00Z",
    }


@pytest.mark.parametrize(
    ("status", "is_final"), [(301, False), (404, True), (408, False), (429, False), (503, False)]
)
def test_what_an_answer_means(receiver: Receiver, status: int, is_final: bool) -> None:
    (receiver.folder / "status").write_text(str(status))
    with pytest.raises(NotTaken, match=f"webhook answered {status}") as refused:
        send(webhook=f"http://{receiver.place}/", key=KEY)
    assert refused.value.is_final == is_final


def test_a_receiver_that_never_answers_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/secret-path"
        with pytest.raises(NotTaken, match="cannot be reached: ReadTimeout") as refused:
            send(1.0, webhook=url, key=KEY)
        assert not refused.value.is_final
        assert "secret-path" not in str(refused.value)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(NotTaken, match="cannot be reached: ConnectionError"):
        send(webhook=f"http://127.0.0.1:{port}/", key=KEY)


def test_apprise_reaches_the_customers_address_and_logs_it_nowhere(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        send(apprise=f"json://{receiver.place}/to/{{address}}")
    (posted,) = receiver.posted()
    assert posted["path"].startswith("/to/")
    body = json.loads(posted["body"])
    assert (body["title"], body["message"]) == ("标题", "正文，余额：-5.00 元")
    (receiver.folder / "status").write_text("500")
    with pytest.raises(NotTaken, match="did not take it"):
        send(apprise=f"json://{receiver.place}/to/{{address}}")
    assert "0000" not in caplog.text


def test_a_url_that_apprise_does_not_know_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(NotTaken, match="apprise knows no such URL"):
        send(apprise="nothing://{address}")
    site = write(tmp_path)
    (tmp_path / "url").write_text("nothing://{address}")
    line = len(site.read_text().splitlines()) + 3
    with site.open("a") as settings:
        settings.write('[[notice_channel]]\nname = "sms"\napprise = { file = "url" }\n')
    told = CliRunner().invoke(check, ["-c", str(site)])
    assert told.exit_code == 78
    mistake = f"meterd.toml:{line}: notice_channel.sms.apprise: apprise knows no such URL"
    assert mistake in told.stderr.splitlines()


def test_a_webhook_gets_a_call_of_the_staff_by_its_own_number() -> None:
    call = StaffCall(
        id=17,
        alarms=[1],
        tries=2,
        kind="job_restore",
        area="T-1",
        level=2,
        name="Wu",
        channel="app",
        address="1",
        language="en",
        text="title\ntext",
    )
    assert webhook_content(call) == {
        "call": 17,
        "try": 2,
        "kind": "job_restore",
        "area": "T-1",
        "level": 2,
        "name": "Wu",
        "channel": "app",
        "address": "1",
        "language": "en",
        "title": "title",
        "text": "text",
    }
