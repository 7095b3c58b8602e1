"""A simulated site told to the daemon: facts through its own transactions, into a database.

What days show and what is used there is compared with what the pure judge says of the same facts,
every evening, and with what is true."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import singledispatchmethod
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.quality.arrival import Arrival
from daemon.quality.facts import (
    ClockFinding,
    ClockSetting,
    Closing,
    Decision,
    Fact,
    Finding,
    Installation,
    Limit,
    Ratio,
    Read,
)
from daemon.quality.verdict import DayState
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.decisions import Order, decide
from daemon.transactions.documents.correction import ClockCorrection
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.filing import Document, approve, file_document
from daemon.transactions.documents.ratio_change import RatioChange
from daemon.transactions.judging import rejudge
from protocols.reading import DailyFreeze, Quantity
from storage import archive
from storage.archive import SiteMeter
from storage.chains import lock_chains
from storage.documents import Said
from storage.identity import FindingRow, add_findings
from storage.owner import claim
from storage.settling import mark_points
from tests.database.small_site import Site, meters, rows
from tests.simulation.life import Life
from tests.simulation.lives import AFTER_DAYS, live_hour, site
from tests.simulation.told_to_daemon import as_told
from tests.simulation.truth import (
    DAYS,
    DECIMALS,
    FIRST,
    HERE_FROM_THE_FIRST,
    ZONES,
    SimulatedPoint,
    midnight_utc,
)

ANOTHER = 500_000
"""Added to the number of a point: the address of the meter that came instead of its first."""
SLOTS = (
    "SELECT p.number, s.day, s.state::text, s.total, coalesce(d.codes, '{}'), d.next_step "
    "FROM slot s JOIN point p ON p.id = s.point_id "
    "LEFT JOIN doubt d ON (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind)"
)
LINKS = (
    "SELECT p.number, l.from_day, l.to_day, link_kwh(l) "
    "FROM link l JOIN point p ON p.id = l.point_id "
    "WHERE l.hold IS NULL"
)


async def simulate_through_daemon(
    connection: AsyncConnection[Any], arrange: AsyncConnection[Any], seed: int, points: int
) -> list[str]:
    """What differs, in words. `arrange`: as the owner of the tables, for what files would say."""
    zone = ZONES[seed % len(ZONES)]
    lives = [Life(as_told(point)) for point in site(seed, points, [zone])]
    daemon = DaemonSite(connection, arrange, zone)
    await daemon.begin([life.point for life in lives])
    found: list[str] = []
    for now in range(DAYS + AFTER_DAYS):
        for hour in range(24):
            live_hour(lives, now, hour)
            await daemon.tell({n: life.take_facts() for n, life in enumerate(lives, 1)}, now, hour)
        found += await daemon.differences(lives, f"day {now}")
    for life in lives:
        life.end()
        found += life.told.mistakes
    return found + await daemon.wrong_links([life.point for life in lives])


class DaemonSite:
    """Point n of the site is Pn of account An, with a meter of its own."""

    def __init__(
        self, connection: AsyncConnection[Any], arrange: AsyncConnection[Any], zone: ZoneInfo
    ) -> None:
        self._connection = connection
        self._arrange = arrange
        self._zone = zone
        self._files = Site(zone=zone)
        self._meters: dict[str, SiteMeter] = {}
        self._now = datetime.now(UTC)

    async def begin(self, points: Iterable[SimulatedPoint]) -> None:
        """The archive as files say it before the first day."""
        for number, point in enumerate(points, 1):
            assert point.installation is not None
            limits = [fact for fact in point.facts[0] if isinstance(fact, Limit)]
            self._files.add(
                number,
                opened_on=FIRST + timedelta(days=point.first_day),
                installed_on=point.installation.at.date(),
                modulus=point.modulus,
                max_daily_kwh=limits[0].max_daily,
                serial=_serial(number),
            )
        await claim(self._connection, "test", self._zone)
        at = midnight_utc(self._zone, 0).astimezone(self._zone)
        await archive.take_over(self._connection, self._files.rows(), at)
        for number, point in enumerate(points, 1):
            assert point.installation is not None
            await self._arrange.execute(
                "UPDATE installation SET from_at = %s, first_day = %s WHERE point_id = "
                "(SELECT id FROM point WHERE number = %s)",
                (point.installation.at, FIRST + timedelta(days=point.first_day), f"P{number}"),
            )
        self._meters = await meters(self._connection)

    async def tell(self, came: Mapping[int, list[Fact]], now: int, hour: int) -> None:
        """Facts of one moment: all reads as one batch, then the others."""
        self._now = midnight_utc(self._zone, now) + timedelta(hours=hour)
        batch = [
            self._arrival(number, fact)
            for number, facts in came.items()
            for fact in facts
            if isinstance(fact, Read)
        ]
        if batch:
            await collect(self._connection, batch, self._zone)
        for number, facts in came.items():
            for fact in facts:
                if not isinstance(fact, Read):
                    await self._tell(fact, f"P{number}")
        if any(came.values()):
            authority = Authority(Policy(), self._zone, shadow_mode=True, running_for=timedelta)
            await settle_marked(self._connection, authority, self._now)

    def _arrival(self, number: int, read: Read) -> Arrival:
        meter = self._meters[f"P{number}"]
        freeze = DailyFreeze(
            meter.address,
            Quantity.FORWARD_ACTIVE_ENERGY,
            datetime.combine(read.day, time()),
            (read.registers.total, *(rate for _, rate in read.registers.rates)),
            read.read_at.astimezone(UTC),
            None if read.skew_s is None else timedelta(seconds=read.skew_s),
            serial=None if read.serial is None else "999999999999",
        )
        return Arrival(meter, freeze)

    @singledispatchmethod
    async def _tell(self, fact: Any, point: str) -> None:
        raise NotImplementedError(type(fact))

    @_tell.register
    async def _limit(self, fact: Limit, point: str) -> None:
        """As a reload of the files does it, of the part that changed."""
        if fact.rev == 0:
            return  # as the files said it
        number = int(point[1:])
        self._files.points[number - 1]["max_daily_kwh"] = fact.max_daily
        part = Site(
            self._files.tariffs,
            self._files.accounts[number - 1 : number],
            self._files.points[number - 1 : number],
            self._files.meters[number - 1 : number],
            zone=self._zone,
        )
        async with self._connection.transaction():
            found = await archive.take_over(
                self._connection, part.rows(), self._now.astimezone(self._zone), "", frozenset()
            )
            judged = await rejudge(self._connection, found.limited, self._zone)
            await mark_points(self._connection, judged.changed, "limit")

    @_tell.register
    async def _clock_finding(self, fact: ClockFinding, point: str) -> None:
        """Nothing finds one yet, so that the row is written here."""
        await self._connection.execute(
            "INSERT INTO clock_finding (meter_id, from_day, to_day, rev, skew_s) "
            "VALUES (%s, %s, %s, %s, %s)",
            (self._meters[point].meter_id, fact.first, fact.last, fact.rev, fact.skew_s),
        )
        await self._judge_anew(point)

    @_tell.register
    async def _finding(self, fact: Finding, point: str) -> None:
        """As the daily look at all points tells it: from a day on, until it is over."""
        row = FindingRow(
            self._meters[point].point_id, fact.code, fact.first, fact.is_active, detail={}
        )
        await add_findings(self._connection, [row])
        await self._judge_anew(point)

    @_tell.register
    async def _setting(self, fact: ClockSetting, point: str) -> None:
        await self._file(ClockCorrection(point, fact.clock))

    @_tell.register
    async def _exchange(self, fact: Installation, point: str) -> None:
        """Another serial has another address, which is asked from then on; the same one is a
        register that was restarted."""
        final = None if fact.old_final is None else (fact.old_final.total,)
        initial = None if fact.initial is None else (fact.initial.total,)
        is_same = fact.serial == HERE_FROM_THE_FIRST
        address = None if is_same else _serial(int(point[1:]) + ANOTHER)
        await self._file(Exchange(point, fact.at, address, final, initial))
        self._meters = await meters(self._connection)

    @_tell.register
    async def _ratio(self, fact: Ratio, point: str) -> None:
        assert not isinstance(fact.at, datetime)
        if fact.rev:
            register = None if fact.register is None else (fact.register.total,)
            await self._file(RatioChange(point, fact.at, fact.ratio, register))

    @_tell.register
    async def _decision(self, fact: Decision, point: str) -> None:
        order = Order(
            point=point,
            day=fact.day,
            action=fact.action,
            maker="clerk",
            reason="simulated",
            total=fact.total,
        )
        await decide(self._connection, order)

    @_tell.register
    async def _closing(self, fact: Closing, point: str) -> None:
        """Nothing closes a period yet, so that the row is written here."""
        published = {
            day.isoformat(): [
                int(it.scaleb(DECIMALS))
                for it in (registers.total, *(rate for _, rate in registers.rates))
            ]
            for day, registers in fact.published
        }
        await self._arrange.execute(
            "INSERT INTO closing (point_id, through_day, published, actor) "
            "SELECT id, %s, %s, 'clerk' FROM point WHERE number = %s",
            (fact.through, json.dumps(published), point),
        )
        await self._judge_anew(point)

    async def _file(self, document: Document) -> None:
        said = Said("clerk", "simulated", "")
        filed = await file_document(self._connection, document, said, self._now)
        if filed.number is not None and filed.state == "waits":
            other = Said("second", "simulated", "")
            await approve(self._connection, filed.number, other, self._now)

    async def _judge_anew(self, point: str) -> None:
        point_id = self._meters[point].point_id
        async with self._connection.transaction():
            await lock_chains(self._connection)
            judged = await rejudge(self._connection, {point_id: FIRST}, self._zone)
            await mark_points(self._connection, judged.changed, "simulated")

    # --- what came of it --------------------------------------------------------------------------

    async def differences(self, lives: Iterable[Life], when: str) -> list[str]:
        """Days that the database shows otherwise than the pure judge."""
        shown: defaultdict[str, dict[date, DayState]] = defaultdict(dict)
        for point, day, state, total, codes, step in await rows(self._connection, SLOTS):
            kwh = Decimal(total).scaleb(-DECIMALS)
            shown[point][day] = DayState(state, kwh, tuple(codes), step)
        return [
            f"{when} {life.point.name} {life.point.story} {day}: the database shows"
            f" {shown[f'P{number}'].get(day)}, the judge {life.states.get(day)}"
            for number, life in enumerate(lives, 1)
            for day in sorted({*shown[f"P{number}"], *life.states})
            if shown[f"P{number}"].get(day) != life.states.get(day)
        ]

    async def wrong_links(self, points: Iterable[SimulatedPoint]) -> list[str]:
        """Uses that are billed by themselves and are not what was used, though their ends are
        true."""
        by_name = {f"P{number}": point for number, point in enumerate(points, 1)}
        shown = {
            (point, day): total
            for point, day, state, total, _, _ in await rows(self._connection, SLOTS)
            if state == "published"
        }
        found = []
        for name, first, last, kwh in await rows(self._connection, LINKS):
            point = by_name[name]
            start = (first - FIRST).days
            end = (last - FIRST).days
            are_true = all(
                shown.get((name, day)) == point.registers[number]
                for day, number in ((first, start), (last, end))
            )
            used = Decimal(point.energy[end] - point.energy[start]).scaleb(-DECIMALS)
            if are_true and kwh != used:
                found.append(f"{point.name} {point.story} {first} to {last}: {kwh}, used {used}")
        return found


def _serial(number: int) -> str:
    return f"{number:012d}"
