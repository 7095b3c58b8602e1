"""Who the meters said they are: kept, compared with what is registered and with each other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.quality.arrival import Arrival, IdentityRead
from daemon.transactions.identify import take_identities
from daemon.transactions.opening import AccountOpening, DeductsByItself, open_account
from protocols.reading import MeterIdentity
from storage import identity, readings
from storage.archive import SiteMeter
from storage.chains import lock_chains
from tests.database.small_site import (
    DAY,
    NOW,
    OPEN,
    TODAY,
    ZONE,
    Site,
    connect,
    freeze,
    meters,
    on,
    rows,
    store,
)

MONTH = timedelta(days=30)
HOUR = timedelta(hours=1)
BEFORE = [(OPEN, "100"), (OPEN + DAY, "110")]
STATES = "SELECT state::text FROM slot ORDER BY day"
KNOWN = "SELECT serial, asset_number, prepayment_mode FROM meter ORDER BY id"
OTHERS = "SELECT meter_id, serial, from_at, until_at FROM other_serial ORDER BY 1, 3"
FINDINGS = (
    "SELECT DISTINCT ON (p.number, f.code) p.number, f.code, f.active FROM finding f "
    "JOIN point p ON p.id = f.point_id ORDER BY p.number, f.code, f.rev DESC"
)


async def told(
    connection: AsyncConnection[Any], *serials: str | None, at: datetime = NOW, mode: Any = "none"
) -> list[dict[str, Any]]:
    """Each meter of the site tells its serial; what was logged."""
    found = list((await meters(connection)).values())
    reads = [
        IdentityRead(meter, MeterIdentity(serial, mode), at)
        for meter, serial in zip(found, serials, strict=True)
    ]
    with structlog.testing.capture_logs() as logged:
        await take_identities(connection, reads, ZONE)
    return [dict(entry) for entry in logged]


def arrived(meter: SiteMeter, day: date, kwh: str, at: datetime) -> Arrival:
    """A freeze that came at this time."""
    told_now = freeze(meter, day, kwh)
    return replace(told_now, freeze=replace(told_now.freeze, arrived_at=at))


def count(rule: str) -> float:
    return float(metrics.IDENTITY_FINDINGS.labels(rule)._value.get())


def test_first_contact_is_kept(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        assert await told(connection, "900000000001", None, mode="energy") == []
        assert await rows(connection, KNOWN) == [
            ("900000000001", "900000000001", "energy"),
            (None, None, "energy"),
        ]
        assert await rows(connection, "SELECT identity_read_at FROM meter") == [NOW, NOW]

    on(database_url, story)


def test_another_serial_is_told_and_its_time_is_kept(database_url: str) -> None:
    """V03: what is read from then on is not of the meter that is registered."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        before = count("V03")
        await told(connection, "900000000001")
        (entry,) = await told(connection, "900000000002", at=NOW + MONTH)
        assert (entry["log_level"], entry["rule"], entry["point"]) == ("error", "V03", "P1")
        assert entry["command"] == 'meterd meter exchange P1 --at "DAY HH:MM" --new-address ADDRESS'
        assert count("V03") == before + 1
        assert await rows(connection, KNOWN) == [("900000000001", "900000000002", "none")]
        (meter,) = await rows(connection, "SELECT id FROM meter")
        other = (meter, "900000000002", NOW + MONTH)
        assert await rows(connection, OTHERS) == [(*other, None)]
        assert await rows(connection, FINDINGS) == [("P1", "V03", True)]

        await told(connection, "900000000002", at=NOW + 2 * MONTH)
        assert await rows(connection, OTHERS) == [(*other, None)]
        # It does not tell it for once, which proves nothing.
        await told(connection, None, at=NOW + 3 * MONTH)
        assert await rows(connection, OTHERS) == [(*other, None)]

        assert await told(connection, "900000000001", at=NOW + 4 * MONTH) == []
        assert await rows(connection, OTHERS) == [(*other, NOW + 4 * MONTH)]
        assert await rows(connection, FINDINGS) == [("P1", "V03", False)]

    on(database_url, story)


def test_a_third_serial_begins_where_the_second_ends(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        for number in range(3):
            await told(connection, f"90000000000{number}", at=NOW + number * MONTH)
        others = await rows(connection, "SELECT serial, from_at, until_at FROM other_serial")
        assert others == [
            ("900000000001", NOW + MONTH, NOW + 2 * MONTH),
            ("900000000002", NOW + 2 * MONTH, None),
        ]

    on(database_url, story)


def test_one_serial_at_two_addresses_is_told_of_both_points(database_url: str) -> None:
    """V25."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(3).take_over(connection)
        await told(connection, "900000000001", "900000000002", "900000000003")
        logged = await told(
            connection, "900000000001", "900000000002", "900000000001", at=NOW + MONTH
        )
        assert [(entry["rule"], entry["point"]) for entry in logged] == [
            ("V03", "P3"),
            ("V25", "P3"),
        ]
        assert await rows(connection, FINDINGS) == [
            ("P1", "V25", True),
            ("P3", "V03", True),
            ("P3", "V25", True),
        ]

    on(database_url, story)


def test_crossed_meters_are_found_when_they_tell_it_at_once(database_url: str) -> None:
    """Example of R17: two meters with exchanged addresses."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        await told(connection, "900000000001", "900000000002")
        logged = await told(connection, "900000000002", "900000000001", at=NOW + MONTH)
        found = sorted((entry["point"], entry["rule"]) for entry in logged)
        assert found == [("P1", "V03"), ("P1", "V25"), ("P2", "V03"), ("P2", "V25")]

    on(database_url, story)


def test_a_meter_that_was_taken_away_is_not_at_another_address(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        await told(connection, "900000000001", None)
        await connection.execute(
            "UPDATE installation SET to_at = now() WHERE meter_id = (SELECT min(id) FROM meter)"
        )
        known = list((await meters(connection)).values())
        read = IdentityRead(known[0], MeterIdentity("900000000001"), NOW)
        with structlog.testing.capture_logs() as logged:
            await take_identities(connection, [read], ZONE)
        assert logged == []

    on(database_url, story)


def test_a_meter_that_deducts_by_itself_is_told_where_it_is_billed(database_url: str) -> None:
    """R18: nobody pays twice."""

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2)
        site.points[1]["account"] = None
        await site.take_over(connection)
        await connection.execute("UPDATE account SET state = 'active'")
        (entry,) = await told(connection, "1", "2", mode="money")
        assert (entry["rule"], entry["point"]) == ("R18", "P1")
        assert entry["command"] == "meterd point release P1 --on DAY --reason WHY"
        assert await rows(connection, "SELECT prepayment_mode FROM meter") == ["money", "money"]

    on(database_url, story)


# --- what it means for values


def test_what_another_meter_told_moves_no_money(database_url: str) -> None:
    """V03: it is kept, withheld, and judged by nobody's chain."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1).take_over(connection))["P1"]
        days = [OPEN + n * DAY for n in range(4)]
        at = NOW - 2 * MONTH
        await store(connection, *(arrived(meter, day, kwh, at) for day, kwh in BEFORE))
        await told(connection, "900000000001", at=at)
        await told(connection, "900000000002", at=NOW - MONTH)
        await store(connection, arrived(meter, days[2], "120", NOW))
        assert await rows(connection, STATES) == ["published", "published", "suspect"]
        assert await rows(connection, "SELECT codes FROM doubt WHERE codes <> '{}'") == [["V03"]]
        assert await rows(connection, "SELECT count(*) FROM reading") == [3]

        # The meter is back: what it tells from now on is its point's again.
        await told(connection, "900000000001", at=NOW)
        await store(connection, arrived(meter, days[3], "130", NOW + HOUR))
        assert await rows(connection, STATES) == [
            "published",
            "published",
            "suspect",
            "published",
        ]

    on(database_url, story)


def test_what_arrived_before_the_other_meter_was_found_stays(database_url: str) -> None:
    """Only what was read since is known to be of another meter."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1).take_over(connection))["P1"]
        await told(connection, "1", at=NOW - MONTH)
        await told(connection, "2", at=NOW)
        await store(connection, *(arrived(meter, day, kwh, NOW - HOUR) for day, kwh in BEFORE))
        assert await rows(connection, STATES) == ["published", "published"]

    on(database_url, story)


@pytest.mark.parametrize(
    ("serial", "state"), [("1", "published"), ("2", "suspect"), (None, "published")]
)
def test_a_value_that_tells_its_meter_is_believed_by_that(
    database_url: str, serial: str | None, state: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1).take_over(connection))["P1"]
        await told(connection, "1", at=NOW - MONTH)
        await store(connection, *(arrived(meter, day, kwh, NOW) for day, kwh in BEFORE))
        last = arrived(meter, OPEN + 2 * DAY, "120", NOW)
        last = replace(last, freeze=replace(last.freeze, serial=serial))
        await store(connection, last)
        assert (await rows(connection, STATES))[-1] == state

    on(database_url, story)


def test_a_refused_second_read_is_kept_and_is_no_value(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1).take_over(connection))["P1"]
        await store(connection, *(arrived(meter, day, kwh, NOW) for day, kwh in BEFORE))
        again = arrived(meter, OPEN, "0", NOW + HOUR)
        refused = replace(again, freeze=replace(again.freeze, registers=(None,)))
        assert await store(connection, refused) == [(meter.meter_id, OPEN)]
        assert await rows(connection, STATES) == ["published", "published"]
        assert await rows(connection, "SELECT count(*), count(total) FROM reading") == [(3, 2)]

    on(database_url, story)


def test_what_is_in_doubt_is_told_with_how_often_it_was_read(database_url: str) -> None:
    """`reread`, disputes and breaks until the third read, `recollect` for ever."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1).take_over(connection))["P1"]
        await store(connection, *(arrived(meter, day, kwh, NOW) for day, kwh in BEFORE))
        assert await readings.in_doubt(connection, OPEN, NOW) == []
        steps = {"reread": "V07", "recollect": "V04", "person": "V08", None: "V33"}
        told = [*steps.items(), ("person", "V36")]
        of_day = {OPEN + n * DAY: (step, code) for n, (step, code) in enumerate(told, 2)}
        for day in of_day:
            for reads in range(3):
                value = arrived(meter, day, "1", NOW + reads * HOUR)
                await store(connection, value)
        for day, (next_step, code) in of_day.items():
            await connection.execute(
                "UPDATE doubt SET next_step = %s, codes = %s WHERE day = %s",
                (next_step, [code], day),
            )
        found = await readings.in_doubt(connection, OPEN, NOW + 3 * HOUR)
        assert sorted(found, key=lambda doubt: doubt[1]) == [
            (meter.meter_id, OPEN + 2 * DAY, 3, 3600.0),
            (meter.meter_id, OPEN + 3 * DAY, 2, 3600.0),
            (meter.meter_id, OPEN + 5 * DAY, 3, 3600.0),
            (meter.meter_id, OPEN + 6 * DAY, 3, 3600.0),
        ]
        assert await readings.in_doubt(connection, OPEN + 7 * DAY, NOW) == []
        slots = await readings.withheld_slots(connection, OPEN, OPEN + 9 * DAY)
        assert slots == [(meter.meter_id, OPEN + n * DAY) for n in range(2, 7)]

    on(database_url, story)


@pytest.mark.parametrize("points", [(), ("P1",)])
def test_an_account_whose_meter_deducts_by_itself_is_not_opened(
    database_url: str, points: tuple[str, ...]
) -> None:
    """Example of R18."""

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1, opened_on=None, agreement=None)
        if points:
            site.points[0]["account"] = None
        await site.take_over(connection)
        await told(connection, "1", mode="money")
        opening = AccountOpening("A1", TODAY, "signed", points)
        with pytest.raises(DeductsByItself, match="000000000001 deducts"):
            await open_account(connection, opening, ZONE, NOW)
        assert await rows(connection, "SELECT opened_on FROM account") == [None]
        await told(connection, "1", mode="none", at=NOW + HOUR)
        assert await open_account(connection, opening, ZONE, NOW) is not None

    on(database_url, story)


# --- what the files say


def test_a_serial_of_the_files_is_what_the_meter_must_tell(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1, serial="900000000001")
        await site.take_over(connection)
        (entry,) = await told(connection, "900000000002")
        assert entry["rule"] == "V03"
        # A document made it another meter; the file says what it said.
        await connection.execute("UPDATE meter SET serial = '900000000002'")
        await site.take_over(connection)
        assert await told(connection, "900000000002", at=NOW + HOUR) == []
        # The file is corrected: that counts.
        site.meters[0]["serial"] = "900000000003"
        await site.take_over(connection)
        assert await rows(connection, "SELECT serial FROM meter") == ["900000000003"]

    on(database_url, story)


def test_a_line_knows_when_its_meters_told_it_last(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1).take_over(connection))["P1"]
        assert meter.identity_read_on is None
        await told(connection, "1")
        assert (await meters(connection))["P1"].identity_read_on == NOW.date()

    on(database_url, story)


def test_the_same_again_changes_nothing(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        await told(connection, "1", "2")
        await told(connection, "2", "2", at=NOW + MONTH)
        before = [await rows(connection, query) for query in (KNOWN, OTHERS, FINDINGS)]
        count_before = await rows(connection, "SELECT count(*) FROM finding")
        await told(connection, "2", "2", at=NOW + MONTH)
        assert [await rows(connection, query) for query in (KNOWN, OTHERS, FINDINGS)] == before
        assert await rows(connection, "SELECT count(*) FROM finding") == count_before

    on(database_url, story)


def test_a_finding_is_of_the_local_day_on_which_it_was_read(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await told(connection, "1")
        await told(connection, "2")
        assert await rows(connection, "SELECT from_day FROM finding") == [TODAY]

    on(database_url, story)


def test_who_meters_are_is_kept_behind_whoever_holds_the_chains_and_wants_the_meters(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await told(connection, "1")
        async with await connect(database_url) as reload, await connect(database_url) as other:
            async with reload.transaction():
                await lock_chains(reload)
                telling = asyncio.create_task(told(other, "2"))
                waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                while await rows(connection, waits) == [0]:
                    pass
                await reload.execute("UPDATE meter SET line = 'another'")
            await telling
        assert len(await rows(connection, OTHERS)) == 1

    on(database_url, story)


def test_the_look_for_the_same_serial_reads_no_meter_that_has_another(database_url: str) -> None:
    """By its indexes: the site may have a million meters."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await connection.execute(
            "INSERT INTO meter (address, line, protocol, serial, asset_number) "
            "SELECT lpad(n::text, 12, '0'), 'line', 'dlt645-2007', n::text, n::text "
            "FROM generate_series(100000, 150000) n"
        )
        await connection.execute("ANALYZE meter")
        values = {"meters": [1], "serials": ["100007"]}
        plan = await rows(connection, "EXPLAIN " + _literal(identity.SQL["elsewhere"], values))
        assert not any("Seq Scan on meter" in line for line in plan), "\n".join(plan)

    on(database_url, story)


def _literal(statement: str, values: dict[str, Any]) -> str:
    for name, value in values.items():
        shown = ",".join(f"'{one}'" if isinstance(one, str) else str(one) for one in value)
        statement = statement.replace(f"%({name})s", f"ARRAY[{shown}]")
    return statement
