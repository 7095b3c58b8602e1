"""Random lives of small sites in a real database end, to the fen, where the exact model ends.

`make stories` tells many more."""

from __future__ import annotations

import asyncio
import os
from copy import deepcopy

import pytest

from tests.database.small_site import connect, intact
from tests.database.stories.exact_site import ExactSite, exact_site
from tests.database.stories.random_stories import Event, Story, story
from tests.database.stories.told_site import Connection, Kept, ToldSite, kept

SEEDS = range(int(os.environ.get("STORIES_FROM", "0")), int(os.environ.get("STORIES", "12")))


def kept_by(exact: ExactSite) -> Kept:
    owed = {number: exact.owed(number) for number in exact.accounts}
    of_accounts = {number: dict(sorted(it.items())) for number, it in owed.items() if it}
    spans = {number: sorted(it) for number in exact.accounts if (it := exact.spans_of(number))}
    return Kept(
        balances={number: exact.balance(number) for number in exact.accounts},
        posted=of_accounts,
        months=of_accounts,
        spans=spans,
        held=[it for number in spans for it in spans[number] if exact.is_held(it)],
        errors=[],
    )


async def tell(connection: Connection, told: Story) -> list[Event]:
    """The events that may be so; after each settlement all is as the model says."""
    exact, site = exact_site(told), ToldSite(told)
    await site.begin(connection)
    happened = []
    for event in [*told.events, *ends(told)]:
        if not exact.take(event):
            continue
        happened.append(event)
        await site.tell(connection, event)
        if event["type"] == "settle":
            found, expected = await kept(connection), kept_by(exact)
            assert found == expected, f"after {event['now']}: {differences(found, expected)}"
            assert await intact(connection)
    return happened


def differences(found: Kept, expected: Kept) -> list[str]:
    """What the database says otherwise, in few words."""
    return [
        f"{words}: {sorted(there - other)}"
        for ours, theirs in zip(map(plain, found), map(plain, expected), strict=True)
        for words, there, other in (("found", ours, theirs), ("expected", theirs, ours))
        if there - other
    ]


def plain(told: object) -> set[tuple[str, ...]]:
    """The same as single claims."""
    if isinstance(told, dict):
        return {(str(key), *claim) for key, of in told.items() for claim in plain(of)}
    if isinstance(told, list):
        return {tuple(map(str, it)) for it in told}
    return {(str(told),)}


def ends(told: Story) -> list[Event]:
    now = max([event["now"] for event in told.events])
    return [{"type": kind, "now": now} for kind in ("settle", "release_spans", "settle")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_story(database_url: str, seed: int) -> None:
    told = deepcopy(story(seed))

    async def run() -> None:
        async with await connect(database_url) as connection:
            await tell(connection, told)

    asyncio.run(run())
