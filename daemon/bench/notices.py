"""Where a bench's notices go: an end that takes them all and gives a receipt for each."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import requests

from daemon.sending.signature import SIGNATURE, TIMESTAMP, signature

KEY: Final = "of a bench"
ANSWER_S: Final = 10.0

Notice = dict[str, Any]
"""As a webhook gets it: docs/notices.md."""


@dataclass(slots=True)
class Inbox:
    """The notices that came; each once, in the order in which they came."""

    url: str = ""
    all: list[Notice] = field(default_factory=list)
    _numbers: set[int] = field(default_factory=set)
    _unanswered: list[Notice] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take_in(self, notice: Notice) -> None:
        """One that was sent, perhaps again."""
        with self._lock:
            if notice["notice"] not in self._numbers:
                self._numbers.add(notice["notice"])
                self.all.append(notice)
                self._unanswered.append(notice)

    def unanswered(self) -> list[Notice]:
        """Those for which no receipt was taken from here yet."""
        with self._lock:
            taken = self._unanswered
            self._unanswered = []
        return taken


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """An HTTP port of this machine while the block runs."""
    inbox = Inbox()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.take_in(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: the report tells it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    inbox.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def give_receipts(notices: list[Notice], url: str, now: Callable[[], datetime]) -> None:
    """Tell the daemon that they were delivered, over the channel of each. OSError.

    requests.RequestException is one."""
    for notice in notices:
        receipt = {"notice": notice["notice"], "state": "delivered", "at": now().isoformat()}
        body = json.dumps({"channel": notice["channel"], "receipts": [receipt]}).encode()
        timestamp = str(int(now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: timestamp,
            SIGNATURE: signature(KEY, timestamp, body),
        }
        requests.post(url, body, headers=headers, timeout=ANSWER_S).raise_for_status()
