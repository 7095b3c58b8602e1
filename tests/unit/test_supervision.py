"""Tasks that come and go, and the lateness of the event loop."""

import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from daemon import loop_lag, metrics
from daemon.loop_lag import LATE_S, LoopLag
from daemon.supervision import Supervisor


def test_tasks_come_and_go_and_all_end_with_the_supervisor() -> None:
    async def test() -> None:
        ended = []

        async def wait(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        async with Supervisor() as supervisor:
            for name in ("a", "b", "c"):
                supervisor.start(name, lambda name=name: wait(name))
            await asyncio.sleep(0)
            await supervisor.stop(["b"])
            assert ended == ["b"]
            supervisor.start("b", lambda: wait("b again"))
            await asyncio.sleep(0)
        assert sorted(ended[1:]) == ["a", "b again", "c"]

    asyncio.run(test())


def test_deaths_are_counted_by_kind_and_not_by_name() -> None:
    async def test() -> None:
        died = asyncio.Event()

        async def die() -> None:
            died.set()
            raise ValueError

        async with Supervisor() as supervisor:
            supervisor.start("line of many", die, kind="line-in-test")
            await died.wait()
            await asyncio.sleep(0)
        assert REGISTRY.get_sample_value("meterd_task_restarts_total", {"task": "line-in-test"}) == 1
        assert REGISTRY.get_sample_value("meterd_task_restarts_total", {"task": "line of many"}) is None

    asyncio.run(test())


def test_the_figures_of_a_line_that_is_gone_go_too() -> None:
    for outcome in ("ok", "late"):
        metrics.REPLIES.labels("gone", outcome).inc()
    metrics.REPLIES.labels("stays", "ok").inc()
    metrics.LINES.labels("gone").set(0)
    metrics.forget_line("gone")
    assert REGISTRY.get_sample_value("meterd_line_up", {"line": "gone"}) is None
    assert REGISTRY.get_sample_value("meterd_replies_total", {"line": "gone", "outcome": "ok"}) is None
    assert REGISTRY.get_sample_value("meterd_replies_total", {"line": "stays", "outcome": "ok"}) == 1


def test_a_loop_that_is_kept_busy_is_late_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "TICK_S", 0.01)

    async def test() -> None:
        lag = LoopLag()
        measuring = asyncio.create_task(lag.run())
        await asyncio.sleep(0.05)
        assert not lag.is_late
        for _ in range(10):
            time.sleep(0.2)  # noqa: ASYNC251  the event loop is to be late
            await asyncio.sleep(0)
        assert lag.seconds > LATE_S
        await asyncio.sleep(1)
        assert not lag.is_late
        measuring.cancel()

    asyncio.run(test())
