"""Stories are told to a database: in order, over a wire that breaks, in another order, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fractions import Fraction
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg

from daemon.transactions.sealing import seal, verify
from daemon.transactions.sweep import sweep
from tests.database.proven import proven
from tests.database.small_site import DAY, NOW, connect, intact, rows
from tests.database.stories.exact_site import ExactSite, Stream, exact_site
from tests.database.stories.orders import at_once
from tests.database.stories.random_stories import Event, Story
from tests.database.stories.told_site import Connection, Kept, ToldSite, kept
from tests.servers.breaking_wire import Break, Wire

WRITERS = 5
BROKEN = 0.2
"""So many of the events are told over a wire that breaks, if they say enough."""


@dataclass
class Telling:
    """A story and what became of it. `happened`: the events that may be so; `journal`: every row
    that was seen."""

    told: Story
    exact: ExactSite = field(init=False)
    site: ToldSite = field(init=False)
    happened: list[Event] = field(default_factory=list)
    journal: dict[int, str] = field(default_factory=dict)
    old: OldMoney = field(init=False)

    def __post_init__(self) -> None:
        self.exact = exact_site(self.told)
        self.old = OldMoney(self.exact)
        self.site = ToldSite(self.told)

    async def in_order(self, connection: Connection, wire: Wire, database: str) -> None:
        """After each settlement all is as the model says."""
        chance = Random(self.told.seed)
        await self.site.begin(connection)
        calm = True
        for event in [*self.told.events, *ends(self.told)]:
            owed = {number: self.exact.owed(number) for number in self.exact.accounts}
            if not self.exact.take(event):
                continue
            self.happened.append(event)
            if chance.random() < BROKEN:
                await self.broken(wire, database, event, chance)
            else:
                await self.site.tell(connection, event)
            calm = calm and event["type"] in CALM
            if event["type"] in SETTLING:
                if event["type"] == "open":
                    owed = {event["account"]: self.exact.owed(event["account"])}
                # What is released is settled later.
                self.old.post(event["now"], owed)
                await self.old.check(connection, self.site.noon(event["now"]))
            if event["type"] == "settle":
                await self.check(connection, is_calm=calm)
                calm = True

    async def broken(self, wire: Wire, database: str, event: Event, chance: Random) -> None:
        """Whoever got no answer says it once more."""
        wire.listen(1 + int(chance.expovariate(1 / 8)), chance.choice(list(Break)))
        try:
            async with await connect(wire.url(database)) as connection:
                await self.site.tell(connection, event)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            assert wire.has_broken
            self.site.again = True
            async with await connect(wire.url(database)) as connection:
                await self.site.tell(connection, event)
            self.site.again = False

    async def anew(self, connection: Connection, events: Sequence[Event]) -> None:
        """Into another database, of which only the end is looked at."""
        self.site = ToldSite(self.told)
        self.journal = {}
        await self.site.begin(connection)
        for event in events:
            await self.site.tell(connection, event)
        await self.check(connection)

    async def at_once(self, url: str, events: Sequence[Event]) -> None:
        """By eight: five tell, two settle and look for debtors, one audits."""
        self.site = ToldSite(self.told)
        self.journal = {}
        async with AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(await connect(url)) for _ in range(WRITERS + 3)
            ]
            *tellers, settling, looking, auditing = connections
            await self.site.begin(auditing)
            for portion in at_once(events):
                waiting = list(reversed(portion))
                end = {"type": "settle", "now": max(it["now"] for it in portion)}
                async with asyncio.TaskGroup() as group:
                    for connection in tellers:
                        group.create_task(self._tell_all(connection, waiting))
                    group.create_task(self._settle_until(settling, waiting, end))
                    group.create_task(self._look_until(looking, waiting, end))
                    group.create_task(self._audit_until(auditing, waiting))
            await self.site.tell(settling, events[-1])
            await self.check(auditing)
            told = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert await rows(auditing, told) == [0]

    async def _tell_all(self, connection: Connection, waiting: list[Event]) -> None:
        while waiting:
            await self.site.tell(connection, waiting.pop())

    async def _settle_until(self, connection: Connection, waiting: list[Event], end: Event) -> None:
        while waiting:
            await self.site.tell(connection, end)

    async def _look_until(self, connection: Connection, waiting: list[Event], end: Event) -> None:
        while waiting:
            await self.site.tell(connection, end)
            await sweep(connection, self.site.authority, NOW)

    async def _audit_until(self, connection: Connection, waiting: list[Event]) -> None:
        while waiting:
            assert await intact(connection)
            await seal(connection, NOW)

    async def check(self, connection: Connection, *, is_calm: bool = False) -> None:
        """M1 to M5 and M9; M8 where nothing was said but readings, payments and closed days."""
        found, expected = await kept(connection), kept_by(self.exact)
        assert found == expected, "; ".join(differences(found, expected))
        assert await intact(connection)
        seen = dict(await rows(connection, "SELECT id, t::text FROM journal t"))
        assert self.journal.items() <= seen.items(), "M4: no posting is changed or deleted"
        new = [number for number in seen if number not in self.journal]
        self.journal = seen
        if is_calm and never_gives_back(self.told):
            charged = await rows(connection, CHARGED, new)
            assert all(fen >= -1 for fen in charged), "M8"


@dataclass
class OldMoney:
    """What is charged for months long past cuts nobody for a day (amendment 2).

    Less than the daemon counts: of the month in which it is posted nothing. `came`: fen by account,
    that of months long past and all that was charged, of the last day on which anything was
    settled."""

    exact: ExactSite
    owed: dict[str, Mapping[Stream, int]] = field(default_factory=dict)
    came: dict[str, OfOneDay] = field(default_factory=dict)
    graced: dict[str, datetime] = field(default_factory=dict)

    def post(self, now: date, of_accounts: Mapping[str, Mapping[Stream, int]]) -> None:
        since = (now.replace(day=1) - DAY).replace(day=1)
        for number, owed in of_accounts.items():
            before = self.owed.get(number, {})
            first = max(self.exact.accounts[number].opened or since, since)
            recent = sum(fen for (month, _), fen in before.items() if month >= f"{since:%Y-%m}")
            usual = Fraction(max(0, recent), max(1, (now - first).days))
            moved = {it: owed.get(it, 0) - before.get(it, 0) for it in {*owed, *before}}
            last_old = f"{now - 3 * DAY:%Y-%m}"
            old = sum(fen for (month, _), fen in moved.items() if month < last_old)
            others = sum(fen for (month, _), fen in moved.items() if month >= last_old)
            was = self.came.get(number)
            if was is None or was.day != now:
                was = OfOneDay(now)
            limit = max(was.limit, Fraction(500), 3 * usual)
            self.came[number] = OfOneDay(
                now,
                was.old + old,
                was.taken + sum(max(0, fen) for fen in moved.values()),
                limit,
                was.is_less or others < 0,
            )
            self.owed[number] = owed

    async def check(self, connection: Connection, now: datetime) -> None:
        graced = dict(await rows(connection, "SELECT number, span_grace_until FROM account"))
        for number, came in self.came.items():
            until, was = graced[number], self.graced.get(number)
            if came.old > came.limit and not came.is_less:
                # A day of 24 hours, also where clocks are put back in it.
                hours = (until or now).astimezone(UTC) - now.astimezone(UTC)
                assert hours >= DAY, f"SPAN_GRACE of {number}: {came}"
            if came.taken <= 500:
                assert until == was, f"no SPAN_GRACE of {number}: {came}"
        self.graced = graced


class OfOneDay(NamedTuple):
    """Fen that one account was charged on a day. `is_less`: something was given back besides."""

    day: date
    old: int = 0
    taken: int = 0
    limit: Fraction = Fraction(0)
    is_less: bool = False


SETTLING = ("settle", "release_spans", "open")
CALM = ("read", "pay", "pay_back", "close_days", "settle")
CHARGED = """
    SELECT -(t.amounts[1]) FROM journal t JOIN transaction_kind k ON k.id = t.kind
    WHERE k.kind = 'charge' AND t.id = ANY(%s)"""


def never_gives_back(told: Story) -> bool:
    """Whether more use never costs less: random fees of slabs do fall, a minimum is taxed at
    another rate than the use that takes its place, and a residual rate falls by a digit."""
    versions = [it for name in told.tariffs for it in told.tariffs[name]]
    has_slab_fees = any("by_slab" in it.get("fixed", {}) for it in versions)
    return not told.rates and not has_slab_fees and not any("minimum" in it for it in versions)


async def sealed(connection: Connection, zone: ZoneInfo) -> None:
    """M4, by the chain of hashes; and each bill proves itself."""
    await proven(connection, zone)
    assert (await verify(connection)).fault is None


def ends(told: Story) -> list[Event]:
    now = max(event["now"] for event in told.events)
    return [{"type": kind, "now": now} for kind in ("settle", "release_spans", "settle")]


def kept_by(exact: ExactSite) -> Kept:
    owed = {number: exact.owed(number) for number in exact.accounts}
    of_accounts = {number: dict(sorted(it.items())) for number, it in owed.items() if it}
    spans = {number: sorted(it) for number in exact.accounts if (it := exact.spans_of(number))}
    return Kept(
        balances={
            number: it.came_fen - sum(owed[number].values())
            for number, it in exact.accounts.items()
        },
        posted=of_accounts,
        months=of_accounts,
        spans=spans,
        held=[it for number in spans for it in spans[number] if exact.is_held(it)],
        errors=[],
    )


def differences(found: Kept, expected: Kept) -> list[str]:
    """What the database says otherwise, in few words."""
    return [
        f"{words}: {sorted(there - other)}"
        for ours, theirs in zip(map(plain, found), map(plain, expected), strict=True)
        for words, there, other in (("found", ours, theirs), ("expected", theirs, ours))
        if there - other
    ]


def plain(told: Any) -> set[tuple[str, ...]]:
    """The same as single claims."""
    if isinstance(told, dict):
        return {(str(key), *claim) for key, of in told.items() for claim in plain(of)}
    if isinstance(told, list):
        return {tuple(map(str, it)) if isinstance(it, tuple) else (str(it),) for it in told}
    return {(str(told),)}
