"""Keeping things running: tasks that die are started again, blocking calls cannot hold up a stop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog

from daemon import metrics

T = TypeVar("T")
log = structlog.get_logger("daemon")

STOP_S = 3.0
RESTART_PAUSE_S = (1, 2, 5, 10, 30)


@asynccontextmanager
async def supervised(
    tasks: Mapping[str, Callable[[], Awaitable[None]]], *, last: str | None = None
) -> AsyncIterator[None]:
    """Keep tasks running: one that dies is started again after a growing pause, and counted.

    At the end all are cancelled and waited for, `last` after the others, because they may still hand it something.
    """
    running = {name: asyncio.create_task(_keep_running(name, start), name=name) for name, start in tasks.items()}
    try:
        yield
    finally:
        for group in ([task for name, task in running.items() if name != last], [running[last]] if last else []):
            for task in group:
                task.cancel()
            if group:
                await asyncio.wait(group, timeout=STOP_S)


async def in_thread(call: Callable[[], T]) -> T:
    """What a blocking call returns. A cancelled caller does not wait for it, nor does the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # a T where there is no error

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as caught:  # it belongs to the caller
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, daemon=True).start()
    return await done


async def _keep_running(name: str, start: Callable[[], Awaitable[None]]) -> None:
    deaths = 0
    while True:
        began = time.monotonic()
        try:
            await start()
        except Exception:
            log.exception("task died", task=name)
        else:
            log.error("task ended", task=name)
        metrics.TASK_RESTARTS.labels(name).inc()
        deaths = 0 if time.monotonic() - began > max(RESTART_PAUSE_S) else deaths + 1
        await asyncio.sleep(RESTART_PAUSE_S[min(deaths, len(RESTART_PAUSE_S) - 1)])
