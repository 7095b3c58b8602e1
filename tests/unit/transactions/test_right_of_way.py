"""Settlement gives way to payments, and is not stopped by them."""

import asyncio

import pytest

from daemon.transactions.right_of_way import RightOfWay


def test_it_is_given_at_once_where_nobody_pays() -> None:
    step = RightOfWay().given()
    with pytest.raises(StopIteration):
        step.send(None)


def test_payments_without_end_do_not_stop_settlement() -> None:
    async def story() -> None:
        way = RightOfWay(longest_s=0.0)
        with way.claimed():
            await way.given()
            assert not way.is_free

    asyncio.run(story())


def test_the_last_of_several_payments_frees_the_way() -> None:
    async def story() -> None:
        way = RightOfWay(longest_s=3600.0)
        with way.claimed():
            given = asyncio.create_task(way.given())
            with way.claimed():
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not given.done()
        await given
        assert way.is_free

    asyncio.run(story())
