"""Every golden case of kind `settle` through pipeline and database, event by event."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg import AsyncConnection

from config.tariff_form import read_version
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import process, settle_marked
from daemon.transactions.decisions import Order, decide
from daemon.transactions.decisions import approve as approve_decision
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.filing import approve, file_document
from daemon.transactions.payment_reversal import approve_reversal, file_reversal
from storage import archive
from storage.archive import SiteMeter
from storage.documents import Said
from storage.ledger import Outcome
from storage.owner import claim
from storage.settling import Days, mark_accounts
from tests.database.proven import proven
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    Site,
    balance,
    freeze,
    intact,
    meters,
    on,
    pay,
    rows,
    slots,
)
from tests.database.stories.orders import in_another_order
from tests.unit.golden_cases import CASES

SUSPECT = {
    "V07": "suspect:backward",
    "V27": "suspect:backward",
    "V08": "suspect:spike",
    "V11": "suspect:tou_mismatch",
}
SETTLED = sorted(name for name, case in CASES.items() if case["kind"] == "settle")
LI, WANG = Said("li", "as the case says"), Said("wang", "seen")


class Told:
    """A case and the site that it tells of: account A1, its points P1, P2 as they come."""

    def __init__(self, connection: AsyncConnection[Any], given: Mapping[str, Any]) -> None:
        self.connection = connection
        self.given = given
        self.zone = ZoneInfo(given["timezone"])
        self.points = {it["id"]: f"P{n}" for n, it in enumerate(given["points"], 1)}

    async def begin(self) -> None:
        days = [moment(event) for event in self.given["events"] if moment(event) is not None]
        first = min((day for day in days if day is not None), default=date(2026, 3, 1))
        opened = date.fromisoformat(self.given.get("open_date", str(first.replace(day=1))))
        site = Site(zone=self.zone)
        for number, point in enumerate(self.given["points"], 1):
            read = [
                moment(event)
                for event in self.given["events"]
                if event["type"] == "reading" and self.point(event) == f"P{number}"
            ]
            decimals = point["decimals"]
            site.add(
                number,
                account="A1",
                opened_on=opened,
                ratio=Decimal(point["ratio"]),
                max_daily_kwh=Decimal(point["max_daily_kwh"]),
                modulus=int(Decimal(point["modulus"]).scaleb(decimals)),
                decimals=decimals,
                wire_decimals=decimals,
                installed_on=max(opened, min((it for it in read if it), default=opened)),
            )
        site.accounts = site.accounts[:1]
        tariffs = []
        for written in self.given["tariff_versions"]:
            version, mistakes = read_version(written, "T")
            assert version is not None, mistakes
            tariffs.append(tariff_row("T", version))
        await claim(self.connection, "test", self.zone)
        found = replace(site.rows(), tariffs=tariffs)
        await archive.take_over(
            self.connection, found, datetime.combine(NOW.date(), time(12), self.zone)
        )
        for number, point in enumerate(self.given["points"], 1):
            await self.connection.execute(
                "UPDATE point SET rates = %s, residual_rate = %s, phases = %s WHERE number = %s",
                (
                    self.given.get("rates", ["sharp", "peak", "flat", "valley"]),
                    point.get("residual_rate"),
                    point.get("phases", 1),
                    f"P{number}",
                ),
            )
        for cycle, kwh in self.given.get("ladder_used_kwh", {}).items():
            await self.connection.execute(
                "INSERT INTO used_elsewhere (account_id, cycle, kwh, actor) "
                "SELECT id, %s, %s, 'person:li' FROM account",
                (cycle, kwh),
            )
        for bonus in self.given.get("household", []):
            await self.bonus(bonus)
        # The first value of each point is what somebody wrote down when its meter came.
        for number in range(1, len(self.points) + 1):
            firsts = [
                event
                for event in self.given["events"]
                if event["type"] == "reading" and self.point(event) == f"P{number}"
            ]
            if firsts:
                initial = min(firsts, key=lambda event: event["at"])["registers"]
                decimals = self.given["points"][number - 1]["decimals"]
                await self.connection.execute(
                    "UPDATE installation i SET initial = %s FROM point p "
                    "WHERE p.id = i.point_id AND p.number = %s",
                    (
                        [int(it.scaleb(decimals)) for it in self.registers(initial)],
                        f"P{number}",
                    ),
                )
        if self.given["opening_balance_fen"]:
            await pay(self.connection, "A1", self.given["opening_balance_fen"])

    def point(self, event: Mapping[str, Any]) -> str:
        return self.points[event["point"]] if "point" in event else "P1"

    def registers(self, told: Mapping[str, str]) -> tuple[Decimal, ...]:
        names = self.given.get("rates", [])
        return tuple(Decimal(told[name]) for name in ("total", *names) if name in told)

    async def meter(self, event: Mapping[str, Any]) -> SiteMeter:
        return (await meters(self.connection))[self.point(event)]

    async def happen(self, event: Mapping[str, Any]) -> str:
        """What became of an event."""
        status = await self.tell(event)
        await self.settle()
        return status

    async def tell(self, event: Mapping[str, Any]) -> str:
        """The same, while what it moves waits to be settled."""
        return str(await getattr(self, f"_{event['type']}")(event))

    async def settle(self) -> None:
        await settle_marked(self.connection, ARMED, NOW)
        await self.release_spans()
        await settle_marked(self.connection, ARMED, NOW)

    async def _reading(self, event: Mapping[str, Any]) -> str:
        day = moment(event)
        assert day is not None
        told = self.registers(event["registers"])
        meter = await self.meter(event)
        await process(self.connection, [freeze(meter, day, told[0], rates=told[1:])], ARMED, NOW)
        state, _, codes = (await slots(self.connection, self.point(event)))[day]
        if state == "suspect":
            (found,) = {SUSPECT[code] for code in codes if code in SUSPECT}
            return found
        rolled = (
            "SELECT count(*) FROM link l JOIN point p ON p.id = l.point_id "
            "WHERE p.number = %s AND %s IN (from_day, to_day) AND end_total < (l.begins)[1] "
            "AND pieces IS NULL"
        )
        is_rolled = await rows(self.connection, rolled, self.point(event), day) != [0]
        return "accepted:rollover" if is_rolled else "accepted"

    async def _correct_reading(self, event: Mapping[str, Any]) -> str:
        day = moment(event)
        assert day is not None
        total, *rates = self.registers(event["registers"])
        order = Order(
            self.point(event),
            day,
            "substitute",
            "li",
            "misread",
            total=total,
            rates=tuple(rates),
            method="S2",
            evidence="photo",
        )
        (steps,) = await rows(
            self.connection,
            "SELECT total FROM slot s JOIN point p ON p.id = s.point_id WHERE p.number = %s AND day = %s",
            self.point(event),
            day,
        )
        decimals = self.given["points"][0]["decimals"]
        wrong = Order(
            self.point(event),
            day,
            "withdraw",
            "li",
            "misread",
            total=Decimal(steps).scaleb(-decimals),
        )
        await self.decided(wrong)
        await self.decided(order)
        return "accepted"

    async def decided(self, order: Order) -> None:
        """What a person says, and a second one agrees to."""
        done = await decide(self.connection, order)
        if done.waits_for:
            await approve_decision(self.connection, done.number, "wang", "seen")

    async def release_spans(self) -> None:
        """Longer spans than a week are billed when persons release them (section 8.2)."""
        held = (
            "SELECT p.number, from_day, to_day FROM link l JOIN point p ON p.id = l.point_id "
            "WHERE hold = 'span'"
        )
        for point, first, last in await rows(self.connection, held):
            await self.decided(
                Order(point, last, "release_link", "li", "read by hand", from_day=first)
            )

    async def _exchange(self, event: Mapping[str, Any]) -> str:
        at = datetime.fromisoformat(event["at"]).replace(tzinfo=self.zone)
        document = Exchange(
            self.point(event),
            at,
            "000000000099",
            self.registers(event["old_final"]),
            self.registers(event["new_initial"]),
            ratio=Decimal(event["new_ratio"]) if "new_ratio" in event else None,
            modulus=Decimal(event["new_modulus"]) if "new_modulus" in event else None,
            decimals=event.get("new_decimals"),
        )
        filed = await file_document(self.connection, document, LI, NOW)
        if filed.state == "waits":
            assert filed.number is not None
            await approve(self.connection, filed.number, WANG, NOW)
        return "accepted"

    async def _topup(self, event: Mapping[str, Any]) -> str:
        done = await pay(self.connection, "A1", event["amount_fen"], f"k{event['key']}")
        return "accepted" if done.outcome is Outcome.POSTED else "duplicate"

    async def _reverse_topup(self, event: Mapping[str, Any]) -> str:
        key = f"pay:counter:k{event['key']}"
        try:
            number = await file_reversal(self.connection, key, "bounced", LI)
            await approve_reversal(self.connection, number, WANG, NOW)
        except DocumentRefused as refused:
            return {"reversed_already": "duplicate"}[refused.reason]
        return "accepted"

    async def _day_close(self, event: Mapping[str, Any]) -> str:
        first, last = (date.fromisoformat(event[name]) for name in ("from", "to"))
        days = [first + n * DAY for n in range((last - first).days + 1)]
        await self.connection.execute(
            "INSERT INTO closed_day (day) SELECT unnest(%s::date[]) ON CONFLICT DO NOTHING",
            (days,),
        )
        await mark_accounts(self.connection, [1], Days(first, last), "day_close")
        return "accepted"

    async def _close(self, event: Mapping[str, Any]) -> str:
        """The last register is that of the end of the last day: nothing is used behind it."""
        at = datetime.fromisoformat(event["at"])
        last = (at - timedelta.resolution).date()
        if "registers" in event:
            total, *rates = self.registers(event["registers"])
            # At an hour of the day: nothing is used between that moment and midnight.
            moment_of_close = at.replace(tzinfo=self.zone)
            document = Exchange(
                self.point(event), moment_of_close, None, (total, *rates), (total, *rates)
            )
            await file_document(self.connection, document, LI, NOW)
            meter = await self.meter(event)
            await process(
                self.connection, [freeze(meter, last + DAY, total, rates=rates)], ARMED, NOW
            )
        await self.connection.execute("UPDATE account SET last_day = %s", (last,))
        await mark_accounts(self.connection, [1], Days(date(2000, 1, 1), date.max), "terms")
        return "accepted"

    async def _household(self, event: Mapping[str, Any]) -> str:
        known = await rows(
            self.connection,
            "SELECT kwh_per_month FROM household_bonus WHERE from_day = %s",
            event["from"],
        )
        if known == [Decimal(event["bonus_kwh_per_month"])]:
            return "duplicate"
        await self.bonus(event)
        await mark_accounts(self.connection, [1], Days(date(2000, 1, 1), date.max), "terms")
        return "accepted"

    async def bonus(self, entry: Mapping[str, Any]) -> None:
        await self.connection.execute(
            "INSERT INTO household_bonus (account_id, from_day, kwh_per_month, actor) "
            "SELECT id, %s, %s, 'person:li' FROM account",
            (entry["from"], entry["bonus_kwh_per_month"]),
        )


def moment(event: Mapping[str, Any]) -> date | None:
    told = event.get("at") or event.get("from")
    return None if told is None else datetime.fromisoformat(told).date()


@pytest.mark.parametrize("name", SETTLED)
def test_each_event_moves_what_the_case_says(database_url: str, name: str) -> None:
    given, expected = CASES[name]["input"], CASES[name]["expected"]

    async def story(connection: AsyncConnection[Any]) -> None:
        told = Told(connection, given)
        await told.begin()
        found = []
        for number, event in enumerate(given["events"]):
            before = await balance(connection, "A1")
            status = await told.happen(event)
            after = await balance(connection, "A1")
            found.append((number, status, after - before, after))
        steps = [
            (it["event"], it["status"], it["delta_fen"], it["balance_fen"])
            for it in expected["steps"]
        ]
        assert without_exchanges(given, found) == without_exchanges(given, steps)
        final = expected["final"]
        assert await charges(connection) == by_period(final)
        assert await intact(connection)
        bills = await proven(connection, told.zone)
        assert {f"{bill.month:%Y-%m}" for bill in bills} >= set(final["charges_fen_by_period"])

    on(database_url, story)


@pytest.mark.parametrize("name", SETTLED)
def test_in_another_order_a_case_ends_where_it_ends(database_url: str, name: str) -> None:
    """M6: readings, payments and closed days come later, as far as they may; settled once (M7)."""
    given, final = CASES[name]["input"], CASES[name]["expected"]["final"]
    events = in_another_order(given["events"], Random(name))

    async def story(connection: AsyncConnection[Any]) -> None:
        told = Told(connection, given)
        await told.begin()
        for event in events:
            await told.tell(event)
        await told.settle()
        assert await balance(connection, "A1") == final["balance_fen"]
        assert await charges(connection) == by_period(final)
        assert await intact(connection)

    on(database_url, story)


Step = tuple[int, str, int, int]


def without_exchanges(given: Mapping[str, Any], steps: list[Step]) -> list[Step]:
    """What an old meter used until it went is billed with the first freeze behind it."""
    told: list[Step] = []
    waiting = 0
    for number, status, delta, after in steps:
        if given["events"][number]["type"] == "exchange":
            waiting += delta
        else:
            told.append((number, status, delta + waiting, after))
            waiting = 0
    return told


def by_period(final: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {
        month: {code: fen for code, fen in codes.items() if fen}
        for month, codes in final["charges_fen_by_period"].items()
        if any(codes.values())
    }


async def charges(connection: AsyncConnection[Any]) -> dict[str, dict[str, int]]:
    query = (
        "SELECT to_char(month, 'YYYY-MM'), component, fen FROM account_month, "
        "unnest(components, posted_fen) AS x (component, fen) ORDER BY 1, 2"
    )
    by_period: dict[str, dict[str, int]] = {}
    for period, component, fen in await rows(connection, query):
        by_period.setdefault(period, {})[component] = fen
    return by_period
