"""A site of a story in a real database: each event is told by the transaction that the daemon has for
it, and what the database keeps is shown in the words of the exact site."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from config.tariff_form import read_version
from daemon.transactions import decisions
from daemon.transactions.account_entries import (
    Entry,
    HouseholdBonus,
    UsedElsewhere,
    approve_entry,
    file_entry,
)
from daemon.transactions.account_tariff import TariffChange, approve_change, file_change
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.day_close import close_days
from daemon.transactions.documents import filing
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.handover import Assignment, Release
from daemon.transactions.documents.ratio_change import RatioChange
from daemon.transactions.month_close import MonthNotClosed, close_month
from daemon.transactions.opening import AccountOpening, open_account
from daemon.transactions.payment_reversal import approve_reversal, file_reversal
from daemon.transactions.tariff_versions import approve_version
from storage import archive, tariff_filing
from storage.archive import ArchiveConflict, SiteMeter
from storage.chains import lock_chains
from storage.documents import Said
from storage.ledger import KeyReused
from storage.owner import claim
from storage.settling import ALL_DAYS, mark_accounts
from tests.database.small_site import ARMED, DAY, Site, freeze, meters, pay, rows
from tests.database.stories.exact_site import Span, Stream
from tests.database.stories.random_stories import Event, Story

LI, WANG = Said("li", "as the story says"), Said("wang", "seen")
ALREADY = (DocumentRefused, decisions.DecisionRefused, ArchiveConflict, MonthNotClosed)
"""What whoever says something a second time may be told."""

Connection = AsyncConnection[Any]


class Kept(NamedTuple):
    """What a database says of a site. `held`: of `spans`, those that are not billed. `errors`: why
    accounts could not be settled."""

    balances: Mapping[str, int]
    posted: Mapping[str, Mapping[Stream, int]]
    months: Mapping[str, Mapping[Stream, int]]
    spans: Mapping[str, list[Span]]
    held: list[Span]
    errors: list[str]


@dataclass
class ToldSite:
    """`again`: somebody who got no answer says everything once more."""

    story: Story
    again: bool = False
    served: dict[str, list[tuple[date, SiteMeter]]] = field(default_factory=dict)
    """By point which meter is asked from a day on."""
    tariffs: dict[str, list[Event]] = field(default_factory=dict)

    async def begin(self, connection: Connection) -> None:
        story = self.story
        self.tariffs = {name: list(versions) for name, versions in story.tariffs.items()}
        self.zone = ZoneInfo(story.zone)
        self.authority = replace(ARMED, zone=self.zone)
        site = Site(zone=self.zone)
        for number, given in enumerate(story.points, 1):
            decimals = given["decimals"]
            site.add(
                number,
                account=given["account"],
                ratio=Decimal(given["ratio"]),
                max_daily_kwh=Decimal(given["max_daily_kwh"]),
                modulus=int(Decimal(given["modulus"]).scaleb(decimals)),
                decimals=decimals,
                wire_decimals=decimals,
                installed_on=story.first,
                phases=story.phases,
                rates=" ".join(story.rates) or "sharp peak flat valley",
                residual_rate=given.get("residual_rate"),
            )
        (account, *_) = site.accounts
        site.accounts = [
            {
                **account,
                "number": number,
                "tariff_id": tariff,
                "opened_on": opened,
                "agreement": "signed" if opened else None,
            }
            for number, (tariff, opened) in story.accounts.items()
        ]
        await claim(connection, "test", self.zone)
        taken = replace(site.rows(), tariffs=self.tariff_rows())
        await archive.take_over(connection, taken, self.noon(story.first))
        for it in story.points:
            await connection.execute(
                "UPDATE installation i SET initial = %s FROM point p "
                "WHERE p.id = i.point_id AND p.number = %s",
                (self.steps(it["initial"], it["decimals"]), it["id"]),
            )
        for point, meter in (await meters(connection)).items():
            self.served[point] = [(date.min, meter)]

    def tariff_rows(self) -> list[tuple[Any, ...]]:
        found = []
        for name, versions in self.tariffs.items():
            for written in versions:
                version, mistakes = read_version(written, name)
                assert version is not None, mistakes
                found.append(tariff_row(name, version))
        return found

    def noon(self, day: date) -> datetime:
        return datetime.combine(day, time(12), self.zone)

    def registers(self, told: Mapping[str, Any]) -> tuple[Decimal, ...]:
        return tuple(Decimal(str(told[name])) for name in ("total", *self.story.rates))

    def steps(self, told: Mapping[str, str], decimals: int) -> list[int]:
        return [int(it.scaleb(decimals)) for it in self.registers(told)]

    # --- telling ---

    async def tell(self, connection: Connection, event: Event) -> None:
        await getattr(self, f"_{event['type']}")(connection, event)

    async def said(self, *acts: Callable[[], Awaitable[object]]) -> None:
        """One after the other; who says it again may be told that it is so already."""
        for act in acts:
            if self.again:
                with suppress(*ALREADY):
                    await act()
            else:
                await act()

    async def _read(self, connection: Connection, event: Event) -> None:
        day = event["day"]
        meter = [it for since, it in self.served[event["point"]] if since <= day][-1]
        total, *rates = self.registers(event["registers"])
        await collect(connection, [freeze(meter, day, total, rates=rates)], self.zone)

    async def _settle(self, connection: Connection, event: Event) -> None:
        """A day that is recent on the story's clock may be settled beside many others."""
        await settle_marked(connection, self.authority, self.noon(event["now"]))

    async def _correct(self, connection: Connection, event: Event) -> None:
        decimals = next(it["decimals"] for it in self.story.points if it["id"] == event["point"])
        written = {
            name: Decimal(value.numerator) / Decimal(value.denominator)
            for name, value in event["registers"].items()
        }
        total, *rates = (round(it, decimals) for it in self.registers(written))
        order = decisions.Order(
            event["point"], event["day"], "substitute", "li", "misread",
            total=total, rates=tuple(rates), method="S2", evidence="photo",
        )  # fmt: skip
        if self.again and order.total in await self.shown(connection, event, "substituted"):
            return
        await self._withdraw(connection, event)
        await self.said(partial(self.decided, connection, order))

    async def _withdraw(self, connection: Connection, event: Event) -> None:
        for total in await self.shown(connection, event, "published", "substituted"):
            order = decisions.Order(
                event["point"], event["day"], "withdraw", "li", "misread", total=total
            )
            await self.said(partial(self.decided, connection, order))

    async def shown(self, connection: Connection, event: Event, *states: str) -> list[Decimal]:
        """The total of that day, if it is in such a state."""
        (decimals,) = (it["decimals"] for it in self.story.points if it["id"] == event["point"])
        found = await rows(
            connection,
            "SELECT s.total FROM slot s JOIN point p ON p.id = s.point_id "
            "WHERE p.number = %s AND s.day = %s AND s.state::text = ANY(%s)",
            event["point"],
            event["day"],
            list(states),
        )
        return [Decimal(steps).scaleb(-decimals) for steps in found]

    async def decided(self, connection: Connection, order: decisions.Order) -> None:
        """What a person says, and a second one agrees to."""
        done = await decisions.decide(connection, order)
        if done.waits_for:
            await decisions.approve(connection, done.number, "wang", "seen")

    async def _release_spans(self, connection: Connection, event: Event) -> None:
        await self._settle(connection, event)
        for span in event["spans"]:
            order = decisions.Order(
                span.point, span.last, "release_link", "li", "read by hand", from_day=span.first
            )
            await self.said(partial(self.decided, connection, order))

    async def filed(self, connection: Connection, document: filing.Document, event: Event) -> None:
        now = self.noon(event["now"])
        filed = await filing.file_document(connection, document, LI, now)
        if filed.state == "waits":
            assert filed.number is not None
            await filing.approve(connection, filed.number, WANG, now)

    async def _exchange(self, connection: Connection, event: Event) -> None:
        document = Exchange(
            event["point"],
            event["at"].replace(tzinfo=self.zone),
            event["address"],
            self.registers(event["old_final"]),
            self.registers(event["new_initial"]),
            ratio=Decimal(event["new_ratio"]) if "new_ratio" in event else None,
        )
        await self.said(lambda: self.filed(connection, document, event))
        meter = (await meters(connection))[event["point"]]
        self.served[event["point"]].append((event["at"].date() + DAY, meter))

    async def _ratio_change(self, connection: Connection, event: Event) -> None:
        shown = self.registers(event["old_final"])
        document = RatioChange(event["point"], event["day"], Decimal(event["new_ratio"]), shown)
        await self.said(lambda: self.filed(connection, document, event))

    async def _assign(self, connection: Connection, event: Event) -> None:
        document: filing.Document = Release(event["point"], event["day"])
        if event["account"] is not None:
            document = Assignment(event["point"], event["account"], event["day"])
        await self.said(lambda: self.filed(connection, document, event))

    async def _close_days(self, connection: Connection, event: Event) -> None:
        await close_days(connection, self.zone, self.noon(event["now"]))

    async def _close_month(self, connection: Connection, event: Event) -> None:
        await self.said(lambda: close_month(connection, event["month"], LI, event["now"]))

    async def _tariff(self, connection: Connection, event: Event) -> None:
        tariff, start = event["tariff"], date.fromisoformat(event["version"]["effective_from"])
        versions = self.tariffs[tariff]
        if event["version"] not in versions:
            versions.append(event["version"])
        async with connection.transaction():
            await lock_chains(connection)
            await tariff_filing.stage(connection, self.tariff_rows())
            found = await tariff_filing.compare(connection)
            assert found.conflicts == []
            await tariff_filing.follow_files(connection, found, "li", None, event["now"])
        waiting = await tariff_filing.versions(connection, "waits", tariff=tariff)
        if waiting:
            await self.said(lambda: approve_version(connection, tariff, start, WANG, event["now"]))

    async def _account_tariff(self, connection: Connection, event: Event) -> None:
        change = TariffChange(event["account"], event["tariff"], event["day"])

        async def file() -> None:
            filed = await file_change(connection, change, LI, self.noon(event["now"]))
            if filed.state == "waits":
                assert filed.number is not None
                await approve_change(connection, filed.number, WANG)

        await self.said(file)

    async def entered(self, connection: Connection, entry: Entry, event: Event) -> None:
        async def file() -> None:
            filed = await file_entry(
                connection, entry, LI, self.noon(event["now"]), corrects=event["corrects"]
            )
            if filed.state == "waits":
                assert filed.number is not None
                await approve_entry(connection, filed.number, WANG)

        await self.said(file)

    async def _bonus(self, connection: Connection, event: Event) -> None:
        entry = HouseholdBonus(event["account"], event["day"], Decimal(event["kwh"]))
        await self.entered(connection, entry, event)

    async def _elsewhere(self, connection: Connection, event: Event) -> None:
        entry = UsedElsewhere(event["account"], event["cycle"], Decimal(event["kwh"]))
        await self.entered(connection, entry, event)

    async def _open(self, connection: Connection, event: Event) -> None:
        opening = AccountOpening(event["account"], event["day"], "signed")
        await self.said(
            lambda: open_account(connection, opening, self.zone, self.noon(event["now"]))
        )

    async def _close(self, connection: Connection, event: Event) -> None:
        """Nothing in the daemon closes an account yet: its terms say so."""
        async with connection.transaction():
            await lock_chains(connection)
            (account,) = await rows(
                connection,
                "UPDATE account SET last_day = %s WHERE number = %s RETURNING id",
                event["day"],
                event["account"],
            )
            await mark_accounts(connection, [account], ALL_DAYS, "terms")

    async def _pay(self, connection: Connection, event: Event) -> None:
        with suppress(KeyReused):
            await pay(connection, event["account"], event["fen"], event["key"])

    async def _pay_back(self, connection: Connection, event: Event) -> None:
        async def file() -> None:
            key = f"pay:counter:{event['key']}"
            number = await file_reversal(connection, key, "bounced", LI)
            await approve_reversal(connection, number, WANG, self.noon(event["now"]))

        with suppress(DocumentRefused):
            await file()


BALANCES = """
    SELECT a.number, coalesce(b.balance_fen, 0) FROM account a
    LEFT JOIN account_balance b ON b.name = 'customer:' || a.number || ':prepaid'"""
POSTED = """
    SELECT c.number, to_char(s.period, 'YYYY-MM'), s.component, -sum(l.fen)::bigint
    FROM journal t CROSS JOIN LATERAL unnest(t.accounts, t.amounts, t.streams) AS l (account, fen, stream)
    JOIN posting_stream s ON s.id = l.stream JOIN ledger_account a ON a.id = l.account
    JOIN account c ON a.name = 'customer:' || c.number || ':prepaid' GROUP BY 1, 2, 3"""
MONTHS = """
    SELECT a.number, to_char(m.month, 'YYYY-MM'), k.component, k.fen FROM account_month m
    JOIN account a ON a.id = m.account_id
    CROSS JOIN unnest(m.components, m.posted_fen) AS k (component, fen)"""
LINKS = """
    SELECT a.number, p.number, l.from_day, l.to_day, l.hold FROM link l
    JOIN point p ON p.id = l.point_id JOIN account a ON a.id = l.account_id ORDER BY 1, 2, 3"""


async def kept(connection: Connection) -> Kept:
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    held = []
    for account, *span, hold in await rows(connection, LINKS):
        spans[account].append(Span(*span))
        held += [Span(*span)] if hold is not None else []
    return Kept(
        balances=dict(await rows(connection, BALANCES)),
        posted=by_account(await rows(connection, POSTED)),
        months=by_account(await rows(connection, MONTHS)),
        spans=dict(spans),
        held=held,
        errors=await rows(connection, "SELECT error FROM not_settled"),
    )


def by_account(found: list[tuple[str, str, str, int]]) -> dict[str, dict[Stream, int]]:
    """An adjustment counts for the month that it is of."""
    streams: defaultdict[str, defaultdict[Stream, int]] = defaultdict(lambda: defaultdict(int))
    for account, month, component, fen in found:
        of, _, what = component.removeprefix("adjustment:").partition(":")
        stream = (of, what) if component.startswith("adjustment:") else (month, component)
        streams[account][stream] += fen
    return {
        account: moved
        for account, it in streams.items()
        if (moved := {stream: fen for stream, fen in sorted(it.items()) if fen})
    }
