"""Settlement: from links of the reading chain to postings. Pure: (streams, links) -> postings.

Cumulative-difference rounding (R36): a stream keeps the exact amount X of everything charged on
it; what is posted is always R(X) minus what was posted before. So the posted sum is R of the exact
sum whatever the order in which readings came."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from daemon.billing.links import Link
from daemon.billing.tariff import Tariff, TariffVersion

EXACT = Context(prec=60)
"""Register x ratio x price terminates far below 60 digits; nothing in here is ever rounded but to
the fen."""
ENERGY = "energy"


@dataclass(frozen=True, slots=True)
class Stream:
    """(account's) rating period and component. `period` is the first day of the calendar month."""

    period: date
    component: str


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream has come to.

    `exact_yuan` is the exact cumulative amount X, `posted_fen` what has been posted: always
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
    """A link with its charges; a held one has none."""

    link: Link
    charges: tuple[Charge, ...]


@dataclass(frozen=True, slots=True)
class Postings:
    """What a group of links moves.

    `fen` charged (positive) or given back (negative) by stream; never a zero."""

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
    fen = yuan.scaleb(2, EXACT)
    # Money, rounding: R must be monotone and odd, R(-x) = -R(x); ROUND_HALF_UP of decimals is.
    return int(fen.quantize(Decimal(1), ROUND_HALF_UP, EXACT))


def price_link(
    link: Link,
    *,
    ratio: Decimal,
    decimals: int,
    tariff: Tariff,
    zone: ZoneInfo,
) -> PricedLink:
    """Cut a link at month starts and tariff starts and price the parts.

    Money, missing day: at each cut the cumulative share is delta x elapsed / total time, rounded
    half up at register resolution; the last part takes the rest, so the parts stay on the register
    grid and add up to delta. ValueError when no tariff version is in force on its first day."""
    if link.is_held:
        return PricedLink(link, ())
    cuts = set(_month_starts_between(link))
    cuts.update(tariff.cuts_between(link.from_day, link.to_day))
    edges = [link.from_day, *sorted(cuts), link.to_day]
    # Instants, not days: a day has 23 or 25 hours where the clocks change.
    start = _instant(link.from_day, zone)
    total_time = _instant(link.to_day, zone) - start
    charges = []
    billed = 0
    for first, last in pairwise(edges):
        elapsed = _instant(last, zone) - start
        share = _share(link.delta, elapsed, total_time)
        # Shares are rounded on the register grid, and only then multiplied: the ratio would
        # otherwise make a part that no register can show.
        register_kwh = Decimal(share - billed).scaleb(-decimals, EXACT)
        kwh = EXACT.multiply(register_kwh, ratio)
        billed = share
        version = _version_on(first, tariff, link.point_id)
        charges.append(
            Charge(
                stream=Stream(first.replace(day=1), ENERGY),
                kwh=kwh,
                version=version,
                exact_yuan=EXACT.multiply(kwh, version.price_yuan_per_kwh),
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
    waiting = sorted(added, key=_by_time)
    for old in sorted(removed, key=_by_time):
        if not old.charges:
            continue  # a held link moved no money, so there is none to give back
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
    fen = {}
    for stream, amount in _changes(links, replaced).items():
        # A group before this one may have moved the stream already.
        state = result.streams.get(stream) or before.get(stream) or StreamState()
        exact_yuan = EXACT.add(state.exact_yuan, amount)
        posted_fen = to_fen(exact_yuan)
        result.streams[stream] = StreamState(exact_yuan, posted_fen)
        # Against what was posted, not against R of the amount before: a stream whose posted sum
        # was wrong is mended by its next link (money, rounding: self-healing).
        if posted_fen != state.posted_fen:
            fen[stream] = posted_fen - state.posted_fen
    replaced_link = None if replaced is None else replaced.link
    result.postings.append(Postings(tuple(links), replaced_link, fen))


def _changes(links: Iterable[PricedLink], replaced: PricedLink | None) -> dict[Stream, Decimal]:
    """Exact yuan by which each stream moves."""
    change: defaultdict[Stream, Decimal] = defaultdict(Decimal)
    for priced in links:
        for charge in priced.charges:
            change[charge.stream] = EXACT.add(change[charge.stream], charge.exact_yuan)
    if replaced is not None:
        for charge in replaced.charges:
            change[charge.stream] = EXACT.subtract(change[charge.stream], charge.exact_yuan)
    return change


def _by_time(priced: PricedLink) -> tuple[date, int]:
    return priced.link.from_day, priced.link.point_id


def _is_inside(new: Link, old: Link) -> bool:
    is_same_point = new.point_id == old.point_id
    return is_same_point and old.from_day <= new.from_day and new.to_day <= old.to_day


def _version_on(
    day: date,
    tariff: Tariff,
    point_id: int,
) -> TariffVersion:
    version = tariff.version_on(day)
    if version is None:
        raise ValueError(
            f"no tariff version is in force on {day}, the use of point {point_id} cannot be priced"
        )
    return version


def _month_starts_between(link: Link) -> list[date]:
    starts: list[date] = []
    month = link.from_day.replace(day=1)
    while True:
        # 31 days after the first of a month lies in the next one, whatever its length.
        month = (month + timedelta(days=31)).replace(day=1)
        if month >= link.to_day:
            return starts
        starts.append(month)


def _instant(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _share(
    delta: int,
    elapsed: timedelta,
    total: timedelta,
) -> int:
    """delta x elapsed / total, half up, in whole seconds and integers."""
    # Half up in integers: no quotient that would have to be rounded twice.
    part_s = round(elapsed.total_seconds())
    whole_s = round(total.total_seconds())
    return (2 * delta * part_s + whole_s) // (2 * whole_s)
