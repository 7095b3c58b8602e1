"""Tasks that die, whatever they die of, come back."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest

from daemon.runtime import supervision
from daemon.runtime.supervision import Supervisor


@pytest.mark.parametrize(
    "death", ["error", "end", "what it waits for is cancelled", "it is cancelled"]
)
def test_a_task_that_dies_is_started_again(death: str) -> None:
    starts = 0
    came_back = asyncio.Event()

    async def task() -> None:
        nonlocal starts
        starts += 1
        if starts > 1:
            came_back.set()
            await asyncio.sleep(60)
        if death == "error":
            raise RuntimeError("spoilt")
        if death == "what it waits for is cancelled":
            waited_for = asyncio.create_task(asyncio.sleep(60))
            waited_for.cancel()
            await waited_for
        if death == "it is cancelled":
            await asyncio.sleep(60)

    async def scene() -> None:
        async with Supervisor() as supervisor:
            supervisor.start("poll", task, kind="line")
            await asyncio.sleep(0)
            if death == "it is cancelled":
                (running,) = (task for task in asyncio.all_tasks() if task.get_name() == "poll")
                running.cancel()
            async with asyncio.timeout(5):
                await came_back.wait()

    with mock.patch.object(supervision, "RESTART_PAUSE_S", (0.01,)):
        asyncio.run(scene())


def test_a_task_that_is_stopped_stays_stopped() -> None:
    starts = 0

    async def task() -> None:
        nonlocal starts
        starts += 1
        await asyncio.sleep(60)

    async def scene() -> None:
        async with Supervisor() as supervisor:
            supervisor.start("poll", task)
            await asyncio.sleep(0.01)
            await supervisor.stop(["poll"])
            assert all(task.get_name() != "poll" for task in asyncio.all_tasks())

    asyncio.run(scene())
    assert starts == 1
