"""How late the loop is, told from a machine that stood still."""

import asyncio

import pytest

from daemon.runtime.loop_lag import LoopLag


class JumpingLoop(asyncio.SelectorEventLoop):
    """A test moves its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def time(self) -> float:
        return self.now_s

    def pass_a_tick(self, by_s: float) -> None:
        self.now_s += by_s


def lag_after(jump_s: float) -> LoopLag:
    """One tick comes so much too late, the others in time."""
    loop = JumpingLoop()
    lag = LoopLag()

    async def measure() -> None:
        running = asyncio.ensure_future(lag.run())
        await asyncio.sleep(0)
        for late_s in (jump_s, 0.0):
            loop.pass_a_tick(0.1 + late_s)
            for _ in range(5):
                await asyncio.sleep(0)
        running.cancel()

    try:
        loop.run_until_complete(measure())
    finally:
        loop.close()
    return lag


@pytest.mark.parametrize(("jump_s", "is_late"), [(0.0, False), (5.0, True), (3600.0, False)])
def test_a_machine_that_stood_still_for_an_hour_is_not_late_afterwards(
    jump_s: float, is_late: bool
) -> None:
    assert lag_after(jump_s).is_late is is_late
