"""Tasks that die are started again, and blocking calls can not hold up a stop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Self, TypeVar

import structlog

from daemon import metrics

T = TypeVar("T")
log = structlog.get_logger("daemon")

STOP_S = 3.0
LET_GO_S = 0.5
RESTART_PAUSE_S = (1, 2, 5, 10, 30)


class Supervisor:
    """Keeps tasks running; at the end of `async with` all that are left are stopped.

    One that dies is started again after a growing pause, and counted by its kind."""

    def __init__(self, restart_pause_s: Sequence[float] = RESTART_PAUSE_S) -> None:
        self._restart_pause_s = restart_pause_s
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(list(self._tasks))

    def start(
        self, name: str, run: Callable[[], Awaitable[None]], *, kind: str | None = None
    ) -> None:
        """Run it from now on. `kind` is its name in metrics, where thousands are alike."""
        assert name not in self._tasks, f"{name} runs already"
        metrics.born(metrics.TASK_RESTARTS, [kind or name])
        self._tasks[name] = asyncio.create_task(
            self._keep_running(name, run, kind or name), name=name
        )

    async def stop(self, names: Iterable[str]) -> None:
        """Cancel them all at once and wait until they have ended, but not for ever."""
        stopping = {self._tasks.pop(name) for name in names}
        for task in stopping:
            task.cancel()
        if stopping:
            _, hanging = await asyncio.wait(stopping, timeout=STOP_S)
            for task in hanging:
                log.error("task does not end", task=task.get_name())

    async def _keep_running(
        self, name: str, start: Callable[[], Awaitable[None]], kind: str
    ) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            try:
                await start()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or self._tasks.get(name) is not task:
                    raise  # `stop` took it out of the list before it cancelled it
                # Anything else that cancels it, or what it waits for, is a fault like others.
                task.uncancel()
                log.exception("task died", task=name)
            except Exception:
                log.exception("task died", task=name)
            else:
                log.error("task ended", task=name)
            metrics.TASK_RESTARTS.labels(kind).inc()
            deaths += 1
            if time.monotonic() - began > max(self._restart_pause_s):
                deaths = 0  # it ran well for a while: what ended it now is a new fault
            await asyncio.sleep(self._restart_pause_s[min(deaths, len(self._restart_pause_s) - 1)])


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns; None if `stop` is set before: it is cancelled, and not waited for long.

    A database that does not answer would keep it waiting."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
    finally:
        stopping.cancel()
        working.cancel()
    await asyncio.wait([working], timeout=LET_GO_S)
    return None


async def together(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of them return; the first that fails ends the others.

    One that waited on for a connection that is lost would count the silence of a meter that may be
    well."""
    waiting = list(jobs)
    # The usual case of a wire needs no task.
    if len(waiting) == 1:
        return [await waiting[0]]
    tasks = [asyncio.ensure_future(job) for job in waiting]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_thread(call: Callable[[], T]) -> T:
    """What a blocking call returns.

    Neither a cancelled caller nor the end of the process waits for it: asyncio's own threads would
    be joined at exit."""
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
