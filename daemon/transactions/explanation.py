"""What is known of an account, for whoever explains its days and months. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from config.tariff_version import TariffVersion
from daemon.billing.explanation import (
    DayUses,
    StreamChange,
    day_priced,
    month_now,
    slab_days,
    stream_changes,
)
from daemon.billing.links import Link, LinkInForce
from daemon.billing.month_use import uses_of_link
from daemon.billing.pricing import PricedUse, Terms, priced_uses, rounded_fen
from daemon.billing.settlement import has_year
from daemon.billing.use import Use
from daemon.transactions.books import Ground, ground_of
from daemon.transactions.relinking import link_in_force
from protocols.errors import MeterdError
from storage import archive, explanation, ledger, links, terms
from storage.explanation import Movement, PastLink, PointRow
from storage.settling import ALL_DAYS

DAY = timedelta(days=1)


class NotExplained(MeterdError):
    """There is no such account, or nothing to price it by. Whoever asked is told which."""


class ChargedStream(NamedTuple):
    """A stream of a day, and what the ledger has of it, in fen, positive where it was charged.

    `before_fen`: posted before the transactions that billed the day's links, `with_fen` with them,
    `now_fen`: all that was posted."""

    change: StreamChange
    before_fen: int
    with_fen: int
    now_fen: int


@dataclass(frozen=True, slots=True)
class ExplainedDay:
    """A day of an account: the links that cover it, what they used, cost, and were posted."""

    version: TariffVersion | None
    points: dict[int, PointRow]
    addresses: dict[int, str]
    links: list[LinkInForce]
    past: list[PastLink]
    priced: list[PricedUse]
    streams: list[ChargedStream]
    terms: Terms


@dataclass(frozen=True, slots=True)
class AccountMonth:
    """A month of an account. `due_fen`: R(X) of each component, and `posted_fen` what the ledger
    has of it; `reached`: the day on which a slab that prices the whole month was reached, by its
    number. `movements`: all up to now."""

    number: str
    name: str
    month: date
    terms: Terms
    points: dict[int, PointRow]
    addresses: dict[int, str]
    links: list[Link]
    priced: list[PricedUse]
    due_fen: dict[str, int]
    posted_fen: dict[str, int]
    reached: dict[int, date]
    movements: list[Movement]

    @property
    def opening_fen(self) -> int:
        """The balance at 00:00 of its first day."""
        return sum(it.fen for it in self.movements if it.day < self.month)

    @property
    def own(self) -> list[Movement]:
        """What moved the balance in it."""
        return [it for it in self.movements if it.day.replace(day=1) == self.month]


class _Known(NamedTuple):
    account_id: int
    ground: Ground
    links: list[LinkInForce]
    closed: list[date]
    movements: list[Movement]

    @property
    def terms(self) -> Terms:
        return self.ground.terms[self.account_id]

    def uses(self, some: Sequence[LinkInForce], since: date, zone: ZoneInfo) -> list[Use]:
        registers = self.ground.registers
        found = (
            use
            for it in some
            for use in uses_of_link(it.link, self.terms.versions, zone, registers[it.link.point_id])
        )
        return [use for use in found if use.month >= since]


async def explain_day(
    connection: AsyncConnection[Any], account: str, day: date, zone: ZoneInfo
) -> ExplainedDay:
    """What a day of the account cost, and why. NotExplained. Inside `one_moment`."""
    known, since = await _known(connection, account, day)
    covering = [it for it in known.links if it.link.from_day <= day < it.link.to_day]
    by_link = [(it.link, known.uses([it], since, zone)) for it in known.links]
    uses = DayUses(
        min([day, *(it.link.from_day for it in covering)]),
        max([day + DAY, *(it.link.to_day for it in covering)]),
        earlier=[use for link, some in by_link if link.to_day <= day for use in some],
        of_day=[
            use for link, some in by_link if link.from_day <= day < link.to_day for use in some
        ],
        with_it=[use for link, some in by_link if link.from_day <= day for use in some],
        known=[use for _, some in by_link for use in some],
    )
    changes = stream_changes(known.terms, uses, known.closed)
    billed_by = {it.billed_by for it in covering if it.billed_by is not None}
    points = await explanation.points(connection, known.account_id)
    return ExplainedDay(
        version=known.terms.versions.on(day),
        points={it.id: it for it in points},
        addresses=await _addresses(connection, [it.link for it in covering], zone),
        links=covering,
        past=await explanation.past_links(connection, known.account_id, day),
        priced=day_priced(known.terms, uses),
        streams=[_charged(it, known.movements, billed_by) for it in changes],
        terms=known.terms,
    )


async def account_month(
    connection: AsyncConnection[Any], account: str, month: date, zone: ZoneInfo
) -> AccountMonth:
    """A month of the account, for its statement. NotExplained. Inside `one_moment`."""
    known, since = await _known(connection, account, month)
    uses = [it for it in known.uses(known.links, since, zone) if it.month <= month]
    priced = [it for it in priced_uses(known.terms, uses) if it.use.month == month]
    now = month_now(known.terms, uses, known.closed, month)
    behind = (month + 31 * DAY).replace(day=1)
    own = [it.link for it in known.links if it.link.to_day > month and it.link.from_day < behind]
    points = await explanation.points(connection, known.account_id)
    found = await archive.account(connection, account)
    assert found is not None, "it was found before, of the same moment"
    return AccountMonth(
        number=account,
        name=found["name"],
        month=month,
        terms=known.terms,
        points={it.id: it for it in points},
        addresses=await _addresses(connection, own, zone),
        links=sorted(own, key=lambda it: (it.point_id, it.from_day)),
        priced=priced,
        due_fen={it.component: fen for it, yuan in now.items() if (fen := rounded_fen(yuan))},
        posted_fen=_posted(known.movements, month),
        reached={step: day for (_, step), day in slab_days(priced, zone).items()},
        movements=known.movements,
    )


def pieces_of(some: Sequence[Link], zone: ZoneInfo) -> Iterator[tuple[Link, Any]]:
    """Links with what each meter shows under each ratio."""
    return ((link, piece) for link in some for piece in link.in_pieces(zone))


async def _known(connection: AsyncConnection[Any], number: str, day: date) -> tuple[_Known, date]:
    """What is known of an account, and the first month of the cycle that holds the day."""
    account_id = await archive.account_id(connection, number)
    if account_id is None:
        raise NotExplained(f"no account {number}")
    accounts = await ledger.account_rows(connection, [account_id])
    points = await links.billed_points(connection, {account_id: ALL_DAYS})
    began_with = {account_id: accounts[account_id].tariff_id}
    ground = await ground_of(connection, began_with, points)
    if account_id not in ground.terms:
        raise NotExplained(f"{number}: tariff {began_with[account_id]} has no version that counts")
    month = day.replace(day=1)
    is_by_year = has_year(ground.terms[account_id].versions)
    since = month.replace(month=1) if is_by_year else month
    rows = await links.of_accounts(connection, {account_id: since})
    known = _Known(
        account_id,
        ground,
        [link_in_force(row) for row in rows],
        await terms.closed_days(connection, since, date.max),
        await explanation.movements(connection, number),
    )
    return known, since


async def _addresses(
    connection: AsyncConnection[Any], some: Sequence[Link], zone: ZoneInfo
) -> dict[int, str]:
    meters = {piece.meter_id for _, piece in pieces_of(some, zone)}
    return await explanation.addresses(connection, meters)


def _charged(
    change: StreamChange, movements: Sequence[Movement], billed_by: set[int]
) -> ChargedStream:
    own = [it for it in movements if (it.period, it.component) == change.stream]
    # One settlement posts each month by itself, all at one instant.
    settled_at = {it.recorded_at for it in movements if it.transaction in billed_by}
    together = {it.transaction for it in movements if it.recorded_at in settled_at}
    first = min(together, default=0)
    return ChargedStream(
        change,
        before_fen=-sum(it.fen for it in own if it.transaction < first),
        with_fen=-sum(it.fen for it in own if it.transaction in together),
        now_fen=-sum(it.fen for it in own),
    )


def _posted(movements: Sequence[Movement], month: date) -> dict[str, int]:
    posted: dict[str, int] = {}
    for it in movements:
        if it.period == month and it.component is not None:
            posted[it.component] = posted.get(it.component, 0) - it.fen
    return {component: fen for component, fen in posted.items() if fen}
