"""The worked cases of the judgement, through the daemon's own transactions: facts as rows, each
arrival a batch, then what the days show and what the links are."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.quality.arrival import Arrival
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.decisions import Order, decide
from daemon.transactions.judging import rejudge
from protocols.reading import DailyFreeze, Quantity
from storage import archive
from storage.archive import SiteMeter
from storage.chains import lock_chains
from storage.owner import claim
from storage.settling import mark_points
from tests.database.small_site import Site, meters, on, rows
from tests.unit.quality.judge_cases import CASES

pytestmark = pytest.mark.hypertables
STORED_WITH_FACTS = sorted(CASES)


class Replay:
    """One case, told to a database."""

    def __init__(self, connection: AsyncConnection[Any], case: dict[str, Any]) -> None:
        self.connection = connection
        self.given = case["input"]
        self.zone = ZoneInfo(self.given["timezone"])
        (self.installed,) = self.given["installations"]
        self.meter: SiteMeter

    async def begin(self) -> None:
        started = datetime.fromisoformat(self.installed["from"])
        decimals = self.installed["decimals"]
        (limit,) = self.given["limits"]
        (ratio,) = self.given["ratios"]
        site = Site.of(
            1,
            opened_on=started.date(),
            installed_on=started.date(),
            modulus=int(Decimal(self.installed["modulus"]).scaleb(decimals)),
            decimals=decimals,
            wire_decimals=self.installed.get("wire_decimals", decimals),
            max_daily_kwh=Decimal(limit["max_daily_register"]),
            ratio=Decimal(ratio["ratio"]),
        )
        await claim(self.connection, "test", self.zone)
        await archive.take_over(self.connection, site.rows(), started.replace(tzinfo=self.zone))
        await self.connection.execute(
            "UPDATE installation SET from_at = %s", (started.replace(tzinfo=self.zone),)
        )
        if self.installed["initial"]:
            initial = self.steps(self.installed["initial"])
            await self.connection.execute("UPDATE installation SET initial = %s", (initial,))
        self.meter = (await meters(self.connection))["P1"]

    def steps(self, registers: dict[str, str]) -> list[int]:
        return [int(Decimal(it).scaleb(self.meter_decimals)) for it in registers.values()]

    @property
    def meter_decimals(self) -> int:
        return int(self.installed["decimals"])

    def at(self, text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=self.zone)

    async def tell(self, event: dict[str, Any]) -> None:
        await getattr(self, f"_{event['type']}")(event)

    async def _value(self, event: dict[str, Any]) -> None:
        day = date.fromisoformat(event["day"])
        told = event.get("registers", {})
        stamp = datetime.fromisoformat(event["stamp"]) if "stamp" in event else None
        skew = event.get("skew_s")
        freeze = DailyFreeze(
            self.meter.address,
            Quantity.FORWARD_ACTIVE_ENERGY,
            stamp or datetime.combine(day, time()),
            tuple(map(Decimal, told.values())),
            self.at(event["read_at"]).astimezone(UTC),
            None if skew is None else timedelta(seconds=skew),
        )
        meter = self.meter
        await collect(self.connection, [Arrival(meter, freeze)], self.zone)

    _second_read = _value

    async def _limit(self, event: dict[str, Any]) -> None:
        await self.connection.execute(
            "INSERT INTO point_limit (point_id, from_day, rev, max_daily_kwh) "
            "SELECT id, %s, %s, %s FROM point",
            (event["from"], event["rev"], event["max_daily_register"]),
        )
        await self._judge_anew()

    async def _clock_finding(self, event: dict[str, Any]) -> None:
        await self.connection.execute(
            "INSERT INTO clock_finding (meter_id, from_day, to_day, rev, skew_s) "
            "SELECT id, %s, %s, %s, %s FROM meter",
            (event["from"], event["to"], event["rev"], event["skew_s"]),
        )
        await self._judge_anew()

    async def _setting(self, event: dict[str, Any]) -> None:
        await self.connection.execute(
            "INSERT INTO clock_setting (meter_id, rev, clock) SELECT id, %s, %s FROM meter",
            (event["rev"], event["clock"]),
        )
        await self._judge_anew()

    async def _exchange(self, event: dict[str, Any]) -> None:
        at = self.at(event["at"])
        final = self.steps(event["old_final"]) if event["old_final"] else None
        initial = self.steps(event["initial"]) if event["initial"] else None
        await self.connection.execute(
            "UPDATE installation SET to_at = %s, final = %s, final_lost = %s",
            (at, final, final is None),
        )
        is_same = event["serial"] == self.installed["serial"]
        if not is_same:
            await self.connection.execute(
                "INSERT INTO meter (address, line, protocol) VALUES ('000000000099', 'line', "
                "'dlt645-2007')"
            )
        await self.connection.execute(
            "INSERT INTO installation (point_id, meter_id, from_at, first_day, initial, modulus, "
            "decimals, wire_decimals) SELECT p.id, (SELECT max(id) FROM meter), %s, %s, %s, %s, %s, %s "
            "FROM point p",
            (
                at,
                at.date() + timedelta(days=at.time() > time()),
                initial,
                int(Decimal(event["modulus"]).scaleb(event["decimals"])),
                event["decimals"],
                event["decimals"],
            ),
        )
        await self._judge_anew()
        self.meter = (await meters(self.connection))["P1"]

    async def _operator(self, event: dict[str, Any]) -> None:
        order = Order(
            point="P1",
            day=date.fromisoformat(event["day"]),
            action=event["action"],
            maker="clerk",
            reason="as the case says",
            total=Decimal(event["total"]),
            rolled_over=event.get("rollover", False),
        )
        await decide(self.connection, order)

    async def _judge_anew(self) -> None:
        async with self.connection.transaction():
            await lock_chains(self.connection)
            first = date.fromisoformat(self.installed["from"][:10])
            judged = await rejudge(self.connection, {self.meter.point_id: first}, self.zone)
            await mark_points(self.connection, judged.changed, "the case")

    async def days(self) -> dict[str, Any]:
        """What each day shows, in the words of the cases."""
        query = (
            "SELECT s.day, s.state::text, s.total, coalesce(d.codes, '{}'), d.next_step FROM slot s "
            "LEFT JOIN doubt d ON (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind) ORDER BY 1"
        )
        shown = {}
        for day, state, total, codes, step in await rows(self.connection, query):
            value = f"{Decimal(total).scaleb(-self.meter_decimals):f}"
            shown[str(day)] = {"state": state, "value": value, "codes": codes}
            if step is not None:
                shown[str(day)]["next"] = step
        return shown

    async def links(self) -> list[tuple[str, str, Decimal | None, str | None]]:
        """The links in force."""
        authority = Authority(Policy(), self.zone, shadow_mode=True, running_for=timedelta)
        await settle_marked(self.connection, authority, datetime.now(UTC))
        query = "SELECT from_day::text, to_day::text, link_kwh(l), hold FROM link l ORDER BY 1"
        found = await rows(self.connection, query)
        return [(first, last, kwh.normalize(), hold) for first, last, kwh, hold in found]


def drawn_together(
    links: Iterable[dict[str, str]],
) -> list[tuple[str, str, Decimal | None, str | None]]:
    """Those of a case from day to day: the account is billed by days."""
    drawn: list[tuple[str, str, Decimal | None, str | None]] = []
    waiting: list[dict[str, str]] = []
    told = list(links)
    for link, behind in zip_longest(told, told[1:]):
        waiting.append(link)
        day = link["to"].removesuffix("T00:00")
        if "T" in day or (day != link["to"] and behind["from"] != day):
            continue
        kwh = sum((Decimal(it.get("kwh", "0")) for it in waiting), Decimal(0)).normalize()
        holds = [it["held"] for it in waiting if "held" in it]
        drawn.append((waiting[0]["from"][:10], day, kwh, holds[0] if holds else None))
        waiting = []
    return drawn


@pytest.mark.parametrize("name", STORED_WITH_FACTS)
def test_a_case_comes_to_the_same_in_the_database(database_url: str, name: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        replay = Replay(connection, CASES[name])
        await replay.begin()
        expected = CASES[name]["expected"]
        seen: dict[str, Any] = {}
        for event, step in zip(replay.given["events"], expected["steps"], strict=True):
            await replay.tell(event)
            seen |= step["days"]
            assert await replay.days() == seen, step["event"]
        assert await replay.days() == expected["days"]
        # An account whose first day is not published is not open, and has no links.
        is_open = expected["days"][replay.installed["from"][:10]]["state"] == "published"
        assert await replay.links() == (drawn_together(expected["links"]) if is_open else [])

    on(database_url, story)
