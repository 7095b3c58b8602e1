"""Tasks that die, whatever they die of, come back."""

from __future__ import annotations

import asyncio

import pytest

from daemon.runtime.supervision import Supervisor, unless


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
        async with Supervisor(restart_pause_s=(0.01,)) as supervisor:
            supervisor.start("poll", task, kind="line")
            await asyncio.sleep(0)
            if death == "it is cancelled":
                (running,) = (task for task in asyncio.all_tasks() if task.get_name() == "poll")
                running.cancel()
            async with asyncio.timeout(5):
                await came_back.wait()

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


def test_what_is_not_done_when_the_stop_comes_is_left() -> None:
    async def scene() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_soon(stop.set)
        ended = asyncio.Event()

        async def work() -> int:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return 1

        assert await unless(stop, work()) is None
        assert ended.is_set()

    asyncio.run(scene())


def test_what_is_done_before_the_stop_is_returned_and_raised() -> None:
    async def seven() -> int:
        return 7

    async def fail() -> int:
        raise LookupError

    async def scene() -> None:
        assert await unless(asyncio.Event(), seven()) == 7
        with pytest.raises(LookupError):
            await unless(asyncio.Event(), fail())

    asyncio.run(scene())
