"""Who told the readings (A1): kept with them, and heard by the guard."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.control.sources import FarEnd
from daemon.pipeline.outlet import Outlet
from daemon.pipeline.reading_store import ReadingStore
from daemon.quality.arrival import Teller
from daemon.spool.record import waiting
from daemon.transactions.observe import take_answer
from daemon.transactions.release import DueCommand, take_step
from protocols.peer import Peer, Proof
from storage import tellers
from storage.database import Pool
from tests.database.small_site import ARMED, DAY, NOW, OPEN, Site, connect, freeze, on, pay, rows
from tests.database.transactions.test_supply import exhausted, later, supply_of

OLD = NOW - timedelta(days=30)
SESSION = Peer("10.0.0.7", Proof.NETWORK, "T1", "", datetime(2026, 1, 5, tzinfo=UTC))
THIEF = Peer("10.0.0.66", Proof.NETWORK, "T1", "", datetime(2026, 1, 6, tzinfo=UTC))
BOUND = Peer("10.0.0.7", Proof.CERTIFICATE, "T1", "ab" * 32, datetime(2026, 1, 5, tzinfo=UTC))
HOUR = timedelta(hours=1)
VERDICT = "SELECT reasons FROM guard_verdict ORDER BY id DESC LIMIT 1"


async def has_told(connection: AsyncConnection[Any], peer: Peer, first_at: datetime) -> None:
    """A reading of the site's line came from there, for the first time then."""
    await connection.execute(
        "INSERT INTO teller (line, address, terminal, certificate, identity, session_at, proof, "
        "first_at) VALUES ('line', %s, %s, %s, %s, %s, %s, %s)",
        (
            peer.address,
            peer.terminal,
            peer.certificate,
            peer.identity,
            peer.session_at,
            int(peer.proof),
            first_at,
        ),
    )


async def step(
    connection: AsyncConnection[Any], peer: Peer, question: str = "", now: datetime = NOW
) -> DueCommand | None:
    return await take_step(connection, ARMED, "line", now, FarEnd(peer, question))


# --- kept -----------------------------------------------------------------------------------------


def test_each_reading_names_who_told_it(database_url: str) -> None:
    """Those that were polled, and those that waited on disk meanwhile."""

    async def story() -> None:
        async with await connect(database_url) as connection:
            meters = await Site.of(2, opened_on=OPEN).take_over(connection)
            session, opened = Teller("line", SESSION), Teller("other", Peer("/dev/ttyS0"))
            arrivals = [
                replace(freeze(meters[point], OPEN + day * DAY, 100 + day), told_by=teller)
                for day in (0, 1)
                for point, teller in (("P1", session), ("P2", opened))
            ]
            outlet = Outlet(
                meters={meter.address: meter for meter in meters.values()}.get,
                stored=lambda slots: None,
                kept=lambda slots: None,
                missed=lambda: None,
            )
            async with Pool(database_url, most=2) as pool:
                store = ReadingStore(pool, ARMED, outlet, asyncio.Event())
                await store.store(arrivals[:2])
                await store.store_waiting([waiting(it) for it in arrivals[2:]])
            assert 0 not in (session.id, opened.id)
            told = await rows(
                connection,
                "SELECT m.address, t.line, t.address, t.terminal, t.session_at, t.proof, count(*) "
                "FROM reading r JOIN meter m ON m.id = r.meter_id JOIN teller t ON t.id = r.told_by "
                "GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1",
            )
            assert told == [
                (meters["P1"].address, "line", "10.0.0.7", "T1", SESSION.session_at, 1, 2),
                (meters["P2"].address, "other", "/dev/ttyS0", "", None, 3, 2),
            ]

    asyncio.run(story())


def test_a_teller_has_one_number_however_often_it_is_asked_for(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        opened = Peer("tcp 10.0.0.9:4001")
        asked = [("a", SESSION), ("b", SESSION), ("a", opened)]
        first = await tellers.number(connection, asked)
        assert len(set(first)) == 3
        assert await tellers.number(connection, asked[::-1]) == first[::-1]
        other = replace(SESSION, session_at=datetime(2026, 1, 7, tzinfo=UTC))
        (new, known) = await tellers.number(connection, [("a", other), ("a", opened)])
        assert new not in first
        assert known == first[2]

    on(database_url, story)


# --- heard ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "is_changed"),
    [
        ([(SESSION, OLD)], False),
        ([(SESSION, NOW - 24 * HOUR)], False),
        ([(SESSION, NOW - 24 * HOUR + timedelta(seconds=1))], True),
        ([(SESSION, OLD), (THIEF, NOW - HOUR)], True),
        ([(SESSION, OLD), (THIEF, NOW - 25 * HOUR)], False),
        ([(SESSION, OLD), (THIEF, NOW - 3 * HOUR), (replace(SESSION, address="10.0.0.7 "), NOW - HOUR)], True),
        ([(replace(SESSION, proof=Proof.NONE), OLD)], True),
        ([(BOUND, NOW - HOUR)], False),
        ([(BOUND, OLD), (replace(BOUND, address="10.0.0.66", session_at=THIEF.session_at), NOW - HOUR)], False),
        ([(BOUND, OLD), (replace(BOUND, certificate="cd" * 32), NOW - HOUR)], True),
        ([(replace(SESSION, proof=Proof.VOUCHED), OLD), (replace(THIEF, proof=Proof.VOUCHED), NOW - HOUR)], True),
        ([(replace(SESSION, proof=Proof.VOUCHED), NOW - HOUR)], False),
        ([(SESSION, OLD), (Peer("tcp 10.0.0.9:4001"), NOW - HOUR)], False),
        ([], False),
    ],
)  # fmt: skip
def test_whoever_came_within_a_day_causes_no_trip(
    database_url: str, told: list[tuple[Peer, datetime]], is_changed: bool
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, opened_on=OPEN).take_over(connection)
        for peer, first_at in told:
            await has_told(connection, peer, first_at)
        await exhausted(connection)
        commands = await rows(connection, "SELECT action FROM command")
        assert commands == ([] if is_changed else ["trip"])
        if is_changed:
            assert await rows(connection, VERDICT) == [["SOURCE_CHANGED"]]

    on(database_url, story)


async def armed(connection: AsyncConnection[Any], peer: Peer) -> None:
    """A trip is asked for, of a meter whose readings this one told for long."""
    await exhausted(connection)
    await has_told(connection, peer, OLD)
    assert await rows(connection, "SELECT state FROM command") == ["persisted"]


@pytest.mark.parametrize(
    ("peer", "question"),
    [
        (THIEF, ""),
        (SESSION, "another caller says that it is this terminal"),
        (replace(SESSION, session_at=THIEF.session_at), ""),
        (replace(SESSION, proof=Proof.NONE), ""),
    ],
)
def test_whoever_took_the_place_since_gets_no_trip(
    database_url: str, peer: Peer, question: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await armed(connection, SESSION)
        assert await step(connection, peer, question) is None
        assert await rows(connection, "SELECT state, sends, detail FROM command") == [
            ("cancelled", 0, "SOURCE_CHANGED")
        ]
        assert await supply_of(connection) == "energised"

    on(database_url, story)


def test_the_same_far_end_gets_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await armed(connection, SESSION)
        taken = await step(connection, SESSION)
        assert taken is not None
        assert taken.kind == "send"

    on(database_url, story)


def test_a_trip_is_not_verified_by_another_one(database_url: str) -> None:
    """At the moment of a trip: it swallows the frame and says that the relay is open."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await armed(connection, SESSION)
        taken = await step(connection, SESSION)
        assert taken is not None
        await take_answer(connection, taken.command, "unknown", "closed by the other side", NOW)
        look_at = later(seconds=10)
        assert await step(connection, THIEF, now=look_at) is None
        ((state, detail),) = await rows(connection, "SELECT state, detail FROM command")
        assert state == "unknown"
        assert "who speaks" in detail
        assert await supply_of(connection) == "trip_commanded"
        # The one that it was sent to may say what became of it.
        looked = await step(connection, SESSION, now=later(minutes=2))
        assert looked is not None
        assert looked.kind == "verify"

    on(database_url, story)


def test_a_reconnect_waits_for_nobody_but_a_dispute(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await armed(connection, SESSION)
        taken = await step(connection, SESSION)
        assert taken is not None
        await take_answer(connection, taken.command, "acked", "accepted", NOW)
        await pay(connection, "A1", 100_000)
        back = await step(connection, THIEF, now=later(seconds=1))
        assert back is not None
        assert (back.kind, back.command.action) == ("send", "allow_close")
        await take_answer(connection, back.command, "acked", "accepted", later(seconds=1))
        assert await step(connection, THIEF, "two callers", now=later(seconds=10)) is None
        looked = await step(connection, THIEF, now=later(minutes=2))
        assert looked is not None
        assert looked.kind == "verify"

    on(database_url, story)
