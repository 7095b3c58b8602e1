"""The HTTP port: /metrics and /healthz, which read memory only, and receipts of notices."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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

from daemon.api.http_connection import LONGEST_HEAD, REQUEST_S, BoundedHttp, Crowds, Turns
from daemon.api.receipts import MOST_BYTES, Receipts
from daemon.runtime.supervision import in_thread
from protocols.errors import MeterdError

REST_OF_HEALTH: Final = 10.0
REST_OF_METRICS: Final = 1.0
"""What was found out is told again for so many times as long as it took: of thousands of lines it
takes milliseconds of the event loop, or seconds beside it."""


class PortTaken(MeterdError):
    """The HTTP port cannot be opened. The operator acts: another port or address."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals belong to the daemon: it stops its parts in order.
        yield


@dataclass(slots=True)
class Kept:
    """The last answer, which is given again for `rest` times as long as it took to make: however
    often it is asked for, making it takes only a part of the time. `of`: what was asked for."""

    rest: float
    clock: Callable[[], float] = time.monotonic
    until: float = -math.inf
    of: str = ""
    answer: Response = field(default_factory=Response)

    def is_for(self, asked: str) -> bool:
        """It may be given again."""
        return self.of == asked and self.clock() < self.until

    def keep(self, answer: Response, asked: str, began: float) -> Response:
        """It was made since `began`."""
        ended = self.clock()
        self.of, self.answer, self.until = asked, answer, ended + self.rest * (ended - began)
        return answer


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

    class Bounded(BoundedHttp):
        patience_s = request_s
        most_body = 0 if receipts is None else MOST_BYTES
        turns = Turns()
        crowds = Crowds()

    one_at_a_time = asyncio.Lock()
    kept, kept_health = Kept(REST_OF_METRICS), Kept(REST_OF_HEALTH)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        async with one_at_a_time:
            if kept.is_for(content_type):
                return kept.answer
            began = kept.clock()
            show()
            # Of thousands of lines it takes seconds, in which they want to be read.
            told = await in_thread(partial(encode, REGISTRY))
            answer = Response(told, headers={"content-type": content_type})
            return kept.keep(answer, content_type, began)

    async def healthz(request: Request) -> Response:
        if kept_health.is_for("health"):
            return kept_health.answer
        began = kept_health.clock()
        is_well, shown = health()
        answer = JSONResponse(shown, status_code=200 if is_well else 503)
        return kept_health.keep(answer, "health", began)

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
        # A connection ends by `patience_s`, not in the midst of a request.
        timeout_keep_alive=math.ceil(request_s) + 1,
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    server = _Server(settings)
    try:
        await server.serve([port])
    finally:
        for connection in server.server_state.connections:
            connection.transport.abort()


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
