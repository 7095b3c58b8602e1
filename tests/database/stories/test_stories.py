"""Random lives of small sites end, to the fen, where the exact model ends (M1 to M9).

Each story is told three times: event by event, where connections break at any statement; the same
inputs in another order and settled once, into an empty database; and by eight at the same time.
`make stories` tells many more of them.

They were seen to notice these spoils: use that left is not taken off, the year is not worked out
anew, what was posted is forgotten, a rollover is not counted, half a fen falls, months are settled
from the last change on, a reversal is not negated, a retroactive version marks nobody, a component is
not given back when the tariff has it no more."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from storage.database import DAEMON
from tests.conftest import new_database
from tests.database.small_site import connect
from tests.database.stories.orders import in_another_order
from tests.database.stories.random_stories import Event, story
from tests.database.stories.telling import Telling, sealed
from tests.database.stories.told_site import Connection
from tests.servers.breaking_wire import Wire, breaking_wire
from tests.servers.postgres import Server

FIRST = int(os.environ.get("FIRST_STORY", "0"))
STORIES = range(FIRST, FIRST + int(os.environ.get("STORIES", "2")))


@pytest.fixture(scope="module")
def wire(server: Server) -> Iterator[Wire]:
    with (
        tempfile.TemporaryDirectory(prefix="wire-", dir="/tmp") as folder,
        breaking_wire(server, Path(folder)) as wire,
    ):
        yield wire


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", STORIES)
def test_a_story_ends_where_the_exact_model_ends(
    server: Server, template_database: str, wire: Wire, seed: int
) -> None:
    telling = Telling(story(seed))
    chance = Random(seed)

    def on_an_empty_one(tell: Callable[[Connection, str], Coroutine[Any, Any, None]]) -> None:
        with new_database(server, template_database) as name:

            async def run() -> None:
                async with await connect(server.url(name, DAEMON)) as connection:
                    await tell(connection, name)
                    await sealed(connection, ZoneInfo(telling.told.zone))

            asyncio.run(run())

    on_an_empty_one(lambda connection, name: telling.in_order(connection, wire, name))
    inputs = [it for it in telling.happened if it["type"] != "settle"]
    end: Event = {"type": "settle", "now": telling.happened[-1]["now"]}
    # M6, M7.
    shuffled = [*in_another_order(inputs, chance), end]
    on_an_empty_one(lambda connection, _: telling.anew(connection, shuffled))
    other = [*in_another_order(inputs, chance), end]
    on_an_empty_one(lambda _, name: telling.at_once(server.url(name, DAEMON), other))
