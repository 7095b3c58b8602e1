"""The HTTP port: /metrics and /healthz, which read memory only, and receipts of notices."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import psycopg
import uvicorn
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.api.receipts import MOST_BYTES, Receipts
from daemon.runtime.supervision import in_thread
from protocols.errors import MeterdError

REQUEST_S: Final = 10.0
MOST_CONNECTIONS: Final = 64
LONGEST_HEAD: Final = 16_384
"""Bytes of a request before its body; of a body receipts.py says how many."""
TOLD_WITHIN: Final = 4
"""So many times too long a head or a body may be for its sender to be told so; who never stops is
hung up on."""


class PortTaken(MeterdError):
    """The HTTP port cannot be opened. The operator acts: another port or address."""


class _BoundedHttp(H11Protocol):
    """A connection that ends when it asks nothing whole, or takes no answer, for `patience_s`, or
    when what it says is more than any request.

    Of more than MOST_CONNECTIONS one ends that has waited longest, of the address that has most:
    whoever opens many, however quickly, keeps nobody else from being answered."""

    patience_s = REQUEST_S
    most_said = LONGEST_HEAD
    said = 0
    """Bytes since the last answer."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.ends = self._end_later()
        open_ones = [
            other
            for other in self.connections
            if isinstance(other, _BoundedHttp) and not other.transport.is_closing()
        ]
        if len(open_ones) > MOST_CONNECTIONS:
            callers = Counter(other.caller for other in open_ones)
            most = max(callers.values())
            crowd = [other for other in open_ones if callers[other.caller] == most]
            min(crowd, key=lambda other: other.ends.when()).transport.abort()

    @property
    def caller(self) -> str:
        """The address that calls; empty where there is none."""
        return self.client[0] if self.client else ""

    def data_received(self, data: bytes) -> None:
        self.said += len(data)
        if self.said > self.most_said:
            # It may have been answered before it had said all, and would be read to its end.
            self.transport.abort()
        else:
            super().data_received(data)

    def on_response_complete(self) -> None:
        self.said = 0
        self.ends.cancel()
        self.ends = self._end_later()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.cancel()
        super().connection_lost(exc)

    def _end_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.patience_s, self.transport.abort)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals belong to the daemon: it stops its parts in order.
        yield


def listen(host: str, port: int) -> socket.socket:
    """The open port. PortTaken when it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise PortTaken(
            f"http.listen {host}:{port} cannot be opened: {error.strerror}; another daemon?"
        ) from None


async def serve(
    port: socket.socket,
    health: Callable[[], tuple[bool, dict[str, Any]]],
    show: Callable[[], None],
    receipts: Receipts | None = None,
    *,
    request_s: float = REQUEST_S,
) -> None:
    """Answer until cancelled.

    `health` gives (is well, what is shown); not well is answered with 503. `show` brings up to date
    what only a look can tell, before each answer of metrics. `receipts`: None where no channel
    signs any. `request_s`: how long a request and the taking of its answer may last."""

    class Bounded(_BoundedHttp):
        patience_s = request_s
        most_said = TOLD_WITHIN * (LONGEST_HEAD if receipts is None else MOST_BYTES)

    one_at_a_time = asyncio.Lock()

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        async with one_at_a_time:
            show()
            # Of thousands of lines it takes seconds, in which they want to be read.
            told = await in_thread(partial(encode, REGISTRY))
        return Response(told, headers={"content-type": content_type})

    async def healthz(request: Request) -> Response:
        is_well, shown = health()
        return JSONResponse(shown, status_code=200 if is_well else 503)

    routes = [Route("/metrics", metrics), Route("/healthz", healthz)]
    if receipts is not None:
        routes.append(Route("/receipts", partial(_take_receipts, receipts), methods=["POST"]))
    application = Starlette(routes=routes)
    settings = uvicorn.Config(
        application,
        http=Bounded,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    await _Server(settings).serve([port])


async def _take_receipts(receipts: Receipts, request: Request) -> Response:
    """Whoever posted what is not taken in tries again."""
    try:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                return JSONResponse({"error": f"more than {MOST_BYTES} bytes"}, status_code=413)
        status, told = await receipts.take_in(request.headers, body)
    except psycopg.Error:
        return _refusal("the database cannot store it now")
    except ClientDisconnect:
        return _refusal("it hung up before it had said all")
    except asyncio.CancelledError:
        # The end of the daemon, which the server would log as a fault of this request.
        return _refusal("the daemon is being stopped")
    return JSONResponse(told, status_code=status)


def _refusal(why: str) -> Response:
    return JSONResponse({"error": why}, status_code=503)
