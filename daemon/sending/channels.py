"""Channels for notices: the library apprise, and a signed webhook."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from msgspec import json

from config.secret import Secret
from config.settings import NoticeChannelSection
from daemon.runtime.supervision import in_thread
from daemon.sending.signature import SIGNATURE, TIMESTAMP, signature
from protocols.errors import MeterdError
from storage.notices import NoticeToSend
from storage.staff_alarms import StaffCall

if TYPE_CHECKING:
    from apprise import Apprise

ToSend = NoticeToSend | StaffCall
Send = Callable[[ToSend], Awaitable[None]]
"""Returns when the channel took it; NotTaken otherwise."""
BUSY: Final = (408, 425, 429)
"""HTTP: refused now, and perhaps not in a moment."""
CLIENT_ERRORS: Final = range(400, 500)


class NotTaken(MeterdError):
    """A channel did not take a notice. `is_final`: it will not take it later either."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


def open_channels(sections: Iterable[NoticeChannelSection]) -> Mapping[str, Send]:
    """How to send over each channel, by its name. MeterdError if one cannot be used."""
    # They log whom they send to.
    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return {section.name: _channel(section) for section in sections}


def _channel(section: NoticeChannelSection) -> Send:
    if section.webhook is not None and section.key is not None:
        call = partial(_post, section.webhook, section.key, section.timeout_s)
    else:
        assert section.apprise is not None
        call = partial(_notify, section.apprise, section.timeout_s)
        _service(section.apprise, "0", section.name)

    async def send(notice: ToSend) -> None:
        await in_thread(partial(call, notice))

    return send


def _post(url: Secret, key: Secret, timeout_s: float, notice: ToSend) -> None:
    # With the first notice: a tenth of a second of every start else.
    import requests

    body = json.encode(webhook_content(notice))
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        TIMESTAMP: timestamp,
        SIGNATURE: signature(key.reveal(), timestamp, body),
    }
    try:
        # What it answers is not read: how much that is would be the receiver's to say.
        with requests.post(
            url.reveal(),
            data=body,
            headers=headers,
            timeout=timeout_s,
            allow_redirects=False,
            stream=True,
        ) as answer:
            status = answer.status_code
    except requests.RequestException as error:
        # Its text may have the URL, which is a secret.
        raise NotTaken(f"webhook cannot be reached: {type(error).__name__}") from None
    if not 200 <= status < 300:
        is_final = status in CLIENT_ERRORS and status not in BUSY
        raise NotTaken(f"webhook answered {status}", is_final=is_final)


def webhook_content(notice: ToSend) -> dict[str, object]:
    """What a webhook gets. `notice`, of staff `call`, is the same when it is sent again."""
    title, text = notice.text.split("\n", 1)
    if isinstance(notice, StaffCall):
        return {
            "call": notice.id,
            "try": notice.tries,
            "kind": notice.kind,
            "area": notice.area,
            "level": notice.level,
            "name": notice.name,
            "channel": notice.channel,
            "address": notice.address,
            "language": notice.language,
            "title": title,
            "text": text,
        }
    return {
        "notice": notice.notice_id,
        "try": notice.tries + 1,
        "kind": notice.kind,
        "account": notice.account,
        "channel": notice.channel,
        "address": notice.address,
        "language": notice.language,
        "title": title,
        "text": text,
        "amount_fen": notice.amount_fen,
        "deadline_at": notice.deadline_at,
        "planned_at": notice.planned_at,
    }


def _notify(url: Secret, timeout_s: float, notice: ToSend) -> None:
    title, text = notice.text.split("\n", 1)
    service = _service(url, notice.address, notice.channel)
    if not service.notify(body=text, title=title, timeout=timeout_s):
        raise NotTaken("the service of apprise did not take it")


def _service(url: Secret, address: str, channel: str) -> Apprise:
    # It is large, and few sites need it.
    from apprise import Apprise, AppriseAsset

    service = Apprise(asset=AppriseAsset(secure_logging=True))
    if not service.add(url.reveal().replace("{address}", quote(address, safe="@+"))):
        raise NotTaken(f"notice_channel.{channel}: apprise knows no such URL", is_final=True)
    return service
