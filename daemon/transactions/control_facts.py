"""What control must know of accounts, asked in one look with their rows locked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from config.persons import BY_DAEMON
from daemon.control.facts import NOTHING_SAID, PointFacts, Said, SupplyFacts
from daemon.control.guard import Approval, Notice
from daemon.control.sources import PROBATION
from storage import supply


async def control_facts(
    connection: AsyncConnection[Any], accounts: Iterable[int], now: datetime
) -> list[PointFacts]:
    """The facts of every point of these accounts, whose rows the caller has locked.

    Four statements, however many accounts there are, and one where a point is ordered off."""
    points = await supply.control_facts(
        connection, accounts, now, PointFacts, sources_since=now - PROBATION
    )
    marks = await supply.marks_that_hold(connection, [it.point_id for it in points], now)
    episodes = [it.episode_id for it in points if it.episode_id is not None]
    of_episodes = await _said_in(connection, episodes)
    found = [_with_what_was_said(it, marks, of_episodes) for it in points]
    return await _with_orders(connection, found)


async def supply_facts(
    connection: AsyncConnection[Any], accounts: Iterable[int], now: datetime
) -> list[SupplyFacts]:
    """What decides whether points of these accounts are restored; the caller has locked their rows.

    Two statements. The guard's facts cost ten times as much, most of it before the first row: a
    payment does not wait for them."""
    points = await supply.supply_facts(connection, accounts, SupplyFacts)
    marks = await supply.marks_that_hold(connection, [it.point_id for it in points], now)
    return [
        replace(it, said=Said(marks=frozenset(marks[it.point_id]))) if it.point_id in marks else it
        for it in points
    ]


def _with_what_was_said(
    point: PointFacts, marks: Mapping[int, Sequence[str]], of_episodes: Mapping[int, Said]
) -> PointFacts:
    said = of_episodes.get(point.episode_id or 0, NOTHING_SAID)
    if point.point_id in marks:
        said = replace(said, marks=frozenset(marks[point.point_id]))
    return point if said is NOTHING_SAID else replace(point, said=said)


async def _with_orders(
    connection: AsyncConnection[Any], points: list[PointFacts]
) -> list[PointFacts]:
    """Of those that are ordered off the persons who say so, in place of those of arrears."""
    ordered = [it.point_id for it in points if it.ordered is not None]
    if not ordered:
        return points
    persons: dict[int, tuple[str, Approval]] = {}
    for point, actor, second, at, until in await supply.persons_of_orders(connection, ordered):
        persons[point] = actor, Approval(second, at.astimezone(UTC), until.astimezone(UTC), 0)
    return [
        _ordered_by(it, persons[it.point_id]) if it.point_id in persons else it for it in points
    ]


def _ordered_by(point: PointFacts, persons: tuple[str, Approval]) -> PointFacts:
    actor, approval = persons
    return replace(point, said=replace(point.said, requester=actor, approvals=(approval,)))


async def _said_in(connection: AsyncConnection[Any], episodes: Sequence[int]) -> dict[int, Said]:
    """Notices and approvals by episode; only of those that have any."""
    if not episodes:
        return {}
    notices: defaultdict[int, list[Notice]] = defaultdict(list)
    for episode, kind, delivered_at, planned_at in await supply.delivered_notices(
        connection, episodes
    ):
        planned = None if planned_at is None else planned_at.astimezone(UTC)
        notices[episode].append(Notice(kind, delivered_at.astimezone(UTC), planned))
    requesters: dict[int, str] = {}
    approvals: defaultdict[int, list[Approval]] = defaultdict(list)
    for episode, requester, debt_fen, approver, at, expires_at in await supply.approvals_given(
        connection, episodes
    ):
        requesters[episode] = requester
        if approver is not None and at is not None and expires_at is not None:
            approval = Approval(approver, at.astimezone(UTC), expires_at.astimezone(UTC), debt_fen)
            approvals[episode].append(approval)
    return {
        episode: Said(
            notices=tuple(notices[episode]),
            requester=requesters.get(episode, BY_DAEMON),
            approvals=tuple(approvals[episode]),
        )
        for episode in {*notices, *requesters}
    }
