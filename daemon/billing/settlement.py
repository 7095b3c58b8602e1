"""Settlement: from links of the reading chain to postings. Pure: (streams, links, tariff) ->
postings.

Cumulative-difference rounding: a stream keeps the exact amount X of everything charged on it; what
is posted is always R(X) minus what was posted before. So the posted sum is R of the exact sum
whatever the order in which readings came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from daemon.billing.tariff import Tariff, TariffVersion
from daemon.quality.register import ChainPoint

EXACT = Context(prec=60)
"""Register x ratio x price terminates far below 60 digits; nothing in here is ever rounded but to
the fen."""
ENERGY = "energy"
MAX_AUTO_SPAN_DAYS = 7
"""A longer span without a reading is not billed by itself: an operator releases it, or the missing
days arrive."""


@dataclass(frozen=True, slots=True)
class Link:
    """The use of one point between two published freezes; `delta` in the register's smallest
    step."""

    point_id: str
    from_day: date
    to_day: date
    delta: int
    rolled_over: bool = False

    @property
    def days(self) -> int:
        return (self.to_day - self.from_day).days

    @property
    def is_held(self) -> bool:
        """True for a span that waits for its missing days or for an operator."""
        return self.days > MAX_AUTO_SPAN_DAYS


@dataclass(frozen=True, slots=True)
class Stream:
    """(account's) rating period and component. `period` is the first day of the calendar month."""

    period: date
    component: str


@dataclass(frozen=True, slots=True)
class StreamState:
    """`exact_yuan` is the exact cumulative amount X, `posted_fen` what has been posted: always
    R(X)."""

    exact_yuan: Decimal = Decimal(0)
    posted_fen: int = 0


@dataclass(frozen=True, slots=True)
class Charge:
    """One part of a link: no month start and no tariff start lies inside it."""

    stream: Stream
    kwh: Decimal
    version: TariffVersion
    exact_yuan: Decimal
    is_estimated_split: bool


@dataclass(frozen=True, slots=True)
class PricedLink:
    link: Link
    charges: tuple[Charge, ...]


@dataclass(frozen=True, slots=True)
class Postings:
    """What a group of links moves: fen charged (positive) or given back (negative) by stream; never
    a zero."""

    links: tuple[PricedLink, ...]
    replaced: Link | None
    fen: Mapping[Stream, int]


@dataclass(slots=True)
class Settlement:
    """`streams` holds the new state of every stream that was touched."""

    postings: list[Postings] = field(default_factory=list)
    streams: dict[Stream, StreamState] = field(default_factory=dict)


def to_fen(yuan: Decimal) -> int:
    """R(x): yuan to fen, nearest, ties away from zero."""
    return int(yuan.scaleb(2, EXACT).quantize(Decimal(1), ROUND_HALF_UP, EXACT))


def chain_links(point_id: str, chain: Sequence[ChainPoint], modulus: int) -> list[Link]:
    """The links between neighbours of a published chain in order of time. What was published passed
    the limits of its day; they are not applied again, so that a later change of a limit does not
    undo what was billed."""
    links = []
    for before, after in pairwise(chain):
        rolled_over = after.total < before.total
        delta = after.total - before.total + (modulus if rolled_over else 0)
        links.append(
            Link(
                point_id,
                before.day,
                after.day,
                delta,
                rolled_over,
            )
        )
    return links


def price_link(
    link: Link,
    *,
    ratio: Decimal,
    decimals: int,
    tariff: Tariff,
    zone: ZoneInfo,
) -> PricedLink:
    """Cut a link at month starts and tariff starts and price the parts.

    At each cut the cumulative share is delta x elapsed / total time, rounded half up at register
    resolution; the last part takes the rest, so the parts stay on the register grid and add up to
    delta. A held link has no charges. ValueError when no tariff version is in force on its first
    day."""
    if link.is_held:
        return PricedLink(link, ())
    cuts = sorted({*tariff.cuts_between(link.from_day, link.to_day), *_month_starts_between(link)})
    edges = [link.from_day, *cuts, link.to_day]
    start, end = (_instant(day, zone) for day in (link.from_day, link.to_day))
    charges = []
    billed = 0
    for first, last in pairwise(edges):
        share = _share(link.delta, _instant(last, zone) - start, end - start)
        kwh = EXACT.multiply(Decimal(share - billed).scaleb(-decimals, EXACT), ratio)
        billed = share
        version = tariff.version_on(first)
        if version is None:
            raise ValueError(
                f"no tariff version is in force on {first}, the use of {link.point_id} cannot be priced"
            )
        charges.append(
            Charge(
                stream=Stream(first.replace(day=1), ENERGY),
                kwh=kwh,
                version=version,
                exact_yuan=EXACT.multiply(kwh, version.price),
                is_estimated_split=bool(cuts),
            )
        )
    return PricedLink(link, tuple(charges))


def settle(
    streams: Mapping[Stream, StreamState],
    *,
    removed: Iterable[PricedLink],
    added: Iterable[PricedLink],
) -> Settlement:
    """Take links out of the account's streams and put others in; what each group posts is net.

    A removed link that was billed and the added ones inside its span are one group (a late reading
    split a span); every other added link is a group of its own, also where it takes the place of a
    held one."""
    result = Settlement()
    waiting = sorted(added, key=lambda priced: (priced.link.from_day, priced.link.point_id))
    for old in sorted(removed, key=lambda priced: (priced.link.from_day, priced.link.point_id)):
        if not old.charges:
            continue
        inside = [new for new in waiting if _is_inside(new.link, old.link)]
        waiting = [new for new in waiting if not _is_inside(new.link, old.link)]
        _post(result, streams, inside, old)
    for new in waiting:
        _post(result, streams, [new], None)
    return result


def _post(
    result: Settlement,
    before: Mapping[Stream, StreamState],
    links: Sequence[PricedLink],
    replaced: PricedLink | None,
) -> None:
    change: dict[Stream, Decimal] = {}
    for priced, sign in [(link, 1) for link in links] + ([(replaced, -1)] if replaced else []):
        for charge in priced.charges:
            moved = EXACT.multiply(charge.exact_yuan, Decimal(sign))
            change[charge.stream] = EXACT.add(change.get(charge.stream, Decimal(0)), moved)
    fen = {}
    for stream, amount in change.items():
        state = result.streams.get(stream) or before.get(stream) or StreamState()
        exact = EXACT.add(state.exact_yuan, amount)
        result.streams[stream] = StreamState(exact, to_fen(exact))
        if to_fen(exact) != state.posted_fen:
            fen[stream] = to_fen(exact) - state.posted_fen
    result.postings.append(Postings(tuple(links), replaced.link if replaced else None, fen))


def _is_inside(new: Link, old: Link) -> bool:
    return (
        new.point_id == old.point_id and old.from_day <= new.from_day and new.to_day <= old.to_day
    )


def _month_starts_between(link: Link) -> list[date]:
    starts: list[date] = []
    month = link.from_day.replace(day=1)
    while True:
        month = (month + timedelta(days=31)).replace(day=1)
        if month >= link.to_day:
            return starts
        starts.append(month)


def _instant(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _share(delta: int, elapsed: timedelta, total: timedelta) -> int:
    """delta x elapsed / total, half up, in whole seconds and integers."""
    part, whole = round(elapsed.total_seconds()), round(total.total_seconds())
    return (2 * delta * part + whole) // (2 * whole)
