"""When a route looks for its commands again, whatever went wrong the last time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.transactions.line_commands import LineCommands
from daemon.transactions.line_steps import DATABASE_RETRY_S, MIN_WAIT_S
from protocols.errors import LineDown

NOW = datetime(2026, 3, 16, 4, tzinfo=UTC)
AUTHORITY = Authority(Policy(), ZoneInfo("Asia/Shanghai"), shadow_mode=True, running_for=timedelta)


class Broken:
    """A pool whose connections fail in one way."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def connection(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "is_raised", "again_s"),
    [
        (psycopg.OperationalError("gone"), False, DATABASE_RETRY_S),
        (psycopg.InterfaceError("the connection is closed"), False, DATABASE_RETRY_S),
        (RuntimeError("spoilt"), True, DATABASE_RETRY_S),
        (LineDown("unplugged"), True, 0.0),
        (asyncio.CancelledError(), True, 0.0),
    ],
)
def test_after_every_failure_it_looks_again(
    error: BaseException, is_raised: bool, again_s: float
) -> None:
    async def story() -> None:
        orders = LineCommands(
            "gate-3", cast(AsyncConnectionPool[Any], Broken(error)), AUTHORITY, lambda: NOW
        )

        async def do(_: object) -> None: ...

        orders.wake()

        if is_raised:
            with pytest.raises(type(error)):
                await orders.serve(do)
        else:
            assert not await orders.serve(do)
        assert again_s - 1 < orders.due_in_s() <= max(again_s, MIN_WAIT_S)

    asyncio.run(story())
