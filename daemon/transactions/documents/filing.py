"""The life of a document: tried, written down, approved where a second person must agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from config.persons import is_same_person
from daemon.billing.document_effect import NOTHING, Effect, Holding, Multiplied, Picture, effect
from daemon.quality.in_force import in_force
from daemon.quality.judge import judge
from daemon.quality.links import moment
from daemon.transactions.documents.correction import (
    AddressCorrection,
    ClockCorrection,
    DateCorrection,
)
from daemon.transactions.documents.crossing import Crossing
from daemon.transactions.documents.desk import Desk, desk_of, refuse
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.handover import Assignment, Release
from daemon.transactions.documents.ratio_change import RatioChange
from daemon.transactions.documents.revalidated import Revalidation
from daemon.transactions.judging import rejudge
from daemon.transactions.trial import foresee, settled
from storage import documents, holdings
from storage.chains import act_as, lock_chains
from storage.documents import Said, StoredDocument
from storage.installations import like_points, lock_point, zone_name
from storage.settling import ALL_DAYS, mark_points

Document = (
    Exchange
    | RatioChange
    | Assignment
    | Release
    | DateCorrection
    | AddressCorrection
    | ClockCorrection
    | Crossing
    | Revalidation
)
KINDS: Final[Mapping[str, type[Any]]] = {
    "exchange": Exchange,
    "restart": Exchange,
    "ratio": RatioChange,
    "assignment": Assignment,
    "release": Release,
    "date_correction": DateCorrection,
    "address_correction": AddressCorrection,
    "clock_setting": ClockCorrection,
    "crossing": Crossing,
    "revalidation": Revalidation,
}
TRIED: Final = Said("trial", "trial")


@dataclass(frozen=True, slots=True)
class Filed:
    """What came of a document. `number`: None for one that was only tried.

    `effects`: by point. `fen`: of a trial, by account how its balance would move."""

    number: int | None
    state: Literal["counts", "waits", "tried"]
    effects: Mapping[str, Effect]
    fen: Mapping[str, int] = field(default_factory=dict)

    @property
    def moved(self) -> int:
        """How many billed days it moves."""
        return sum(len(effect.moved) for effect in self.effects.values())

    @property
    def needs_another(self) -> bool:
        """Whether it is not one person's to say."""
        effects = self.effects.values()
        return bool(self.moved) or any(it.beyond or it.ratios for it in effects)


async def file_document(
    connection: AsyncConnection[Any],
    document: Document,
    said: Said,
    now: datetime,
    *,
    is_trial: bool = False,
) -> Filed:
    """Write a document down; it counts at once, unless it moves days that are billed, tells more
    use than the limit of the point allows, or another ratio, which no limit sees.

    Then it waits for a second person. The same again, from somebody who got no answer, does not
    wait twice, nor count twice. A trial changes nothing. DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        points = await _points(connection, document)
        found = await _tried(connection, document, points, now, with_money=is_trial)
        if is_trial:
            return found
        waits = found.needs_another
        before = await _said_before(connection, document, said)
        if before is not None:
            return Filed(before, "waits", found.effects)
        number = await documents.add_document(
            connection,
            document.kind,
            document.point,
            said,
            content_of(document),
            waits=waits,
        )
        if not waits:
            await act_as(connection, said.actor)
            await _write(connection, document, points, now, number)
    return Filed(number, "waits" if waits else "counts", found.effects)


async def _said_before(
    connection: AsyncConnection[Any], document: Document, said: Said
) -> int | None:
    """The number of a document that waits and says the same, from the same person.

    DocumentRefused where it counts, and nothing was said of the point since: a second crossing
    would take the first one back."""
    of_point = await documents.documents(connection, point=document.point)
    standing = [it for it in of_point if it.state != "rejected"]
    told = (document.kind, document.point, content_of(document), said)
    same = [
        it
        for it in standing
        if (it.kind, it.point, it.content, Said(it.actor, it.reason, it.evidence)) == told
    ]
    for it in same:
        if it.state == "waits":
            return it.number
        if it is standing[-1]:
            refuse(
                "said_already",
                f"document {it.number} says the same and counts already; who means it once more "
                "gives another --reason",
            )
    return None


async def approve(
    connection: AsyncConnection[Any], number: int, said: Said, now: datetime
) -> tuple[StoredDocument, Filed]:
    """Let a document count that waits; `said.actor` is another person than who made it.

    It is tried again: what came meanwhile may forbid it. DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        stored = await to_approve(connection, number, said)
        document = document_of(stored)
        points = await _points(connection, document)
        found = await _tried(connection, document, points, now)
        await documents.add_review(connection, number, "approved", said)
        await act_as(connection, f"{stored.actor}, {said.actor}")
        await _write(connection, document, points, now, number)
    return stored, Filed(number, "counts", found.effects)


async def to_approve(connection: AsyncConnection[Any], number: int, said: Said) -> StoredDocument:
    """A document that waits, for another person than who made it. DocumentRefused."""
    stored = await _waiting(connection, number)
    if is_same_person(stored.actor, said.actor):
        refuse(
            "same_person",
            f"document {number} was made by {stored.actor}, and needs a second person: "
            f"meterd document approve {number} --actor NAME",
        )
    owner = stored.content.get("owner")
    if owner is not None and is_same_person(owner, said.actor):
        refuse(
            "same_person",
            f"the file that told document {number} is owned by {owner}, who may have written what "
            f"it says, and it needs another person: meterd document approve {number} --actor NAME",
        )
    return stored


async def reject(connection: AsyncConnection[Any], number: int, said: Said) -> StoredDocument:
    """A document that waits is not to count. Who made it may take it back. DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        stored = await _waiting(connection, number)
        await documents.add_review(connection, number, "rejected", said)
    return stored


async def preview(connection: AsyncConnection[Any], stored: StoredDocument, now: datetime) -> Filed:
    """What a document that waits would change if it were approved now. DocumentRefused."""
    document = document_of(stored)
    async with connection.transaction():
        await lock_chains(connection)
        points = await _points(connection, document)
        return await _tried(connection, document, points, now, with_money=True)


def content_of(document: Document) -> dict[str, Any]:
    """What was said, as JSON: decimals and times as text, absent what was left out."""
    said = {name: value for name, value in asdict(document).items() if name != "point"}
    return {name: _plain(value) for name, value in said.items() if value is not None}


def document_of(stored: StoredDocument) -> Document:
    """The document again that `content_of` wrote down."""
    assert stored.point is not None, "a document of one of these kinds is about a point"
    kind = KINDS[stored.kind]
    told = {
        it.name: _value(stored.content.get(it.name), str(it.type))
        for it in fields(kind)
        if it.name != "point"
    }
    document: Document = kind(point=stored.point, **told)
    return document


def _plain(value: Any) -> Any:
    match value:
        case tuple():
            return [str(item) for item in value]
        case datetime() | date():
            return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _value(written: Any, kind: str) -> Any:
    """`kind`: the field's type as it stands in its class."""
    if written is None:
        return None
    first = kind.partition(" ")[0]
    match first:
        case "Kwh":
            return tuple(map(Decimal, written))
        case "Decimal":
            return Decimal(written)
        case "datetime":
            return datetime.fromisoformat(written)
        case "date":
            return date.fromisoformat(written)
    return written


async def _points(connection: AsyncConnection[Any], document: Document) -> dict[str, int]:
    """The points that it is about, locked."""
    numbers = [document.point]
    if isinstance(document, Crossing):
        numbers.append(document.other)
    # Always in this order, so that two documents never wait for each other.
    return {number: await _point(connection, number) for number in sorted(numbers)}


async def _point(connection: AsyncConnection[Any], point: str) -> int:
    found = await lock_point(connection, point)
    if found is None:
        like = await like_points(connection, point)
        hint = f" (did you mean {', '.join(like)}?)" if like else ""
        refuse(
            "unknown_point",
            f"there is no point {point}{hint}; points come from points.csv when the daemon starts "
            "or reloads",
        )
    return found


async def _waiting(connection: AsyncConnection[Any], number: int) -> StoredDocument:
    found = await documents.documents(connection, number=number)
    if not found:
        refuse("no_document", f"there is no document {number}; see meterd document list")
    (stored,) = found
    if stored.state != "waits":
        refuse(
            "not_waiting",
            f"document {number} {_told(stored)}; another one can say what is so now",
        )
    return stored


def _told(stored: StoredDocument) -> str:
    if stored.state == "counts":
        return "counts already, and needed no second person"
    return f"was {stored.state} by {stored.reviewer} already"


async def _tried(
    connection: AsyncConnection[Any],
    document: Document,
    points: Mapping[str, int],
    now: datetime,
    *,
    with_money: bool = False,
) -> Filed:
    """What the document changes; nothing of it is kept."""
    zone = ZoneInfo(await zone_name(connection))
    if isinstance(document, Revalidation):
        since = dict.fromkeys(points.values(), ALL_DAYS.first)
        found = await foresee(connection, since, zone, now)
        shown = {it: found.effects.get(point_id, NOTHING) for it, point_id in points.items()}
        return Filed(None, "tried", shown, found.fen)
    ids = set(points.values())
    async with connection.transaction(force_rollback=True):
        number = await documents.add_document(
            connection,
            document.kind,
            document.point,
            TRIED,
            {},
            waits=False,
        )
        before = await _pictures(connection, points, now, number)
        # What an earlier document moved is moved: it needs no second person once more.
        await _settled_if_possible(connection, ids, zone, now)
        billed = {
            it: await holdings.billed_spans(connection, point_id) for it, point_id in points.items()
        }
        desk = await desk_of(connection, document.point, points[document.point], now, number)
        await document.write(desk)
        after = await _pictures(connection, points, now, number)
        fen = {}
        if with_money:
            await rejudge(connection, dict.fromkeys(ids, ALL_DAYS.first), zone, is_trial=True)
            fen = await _settled_if_possible(connection, ids, zone, now)
    effects = {it: effect(before[it], after[it], billed[it]) for it in points}
    return Filed(None, "tried", effects, fen)


async def _settled_if_possible(
    connection: AsyncConnection[Any], points: set[int], zone: ZoneInfo, now: datetime
) -> dict[str, int]:
    """By account the fen that moved; an account without a price may need this very document."""
    try:
        async with connection.transaction():
            return await settled(connection, points, zone, now)
    except ValueError:
        return {}


async def _write(
    connection: AsyncConnection[Any],
    document: Document,
    points: Mapping[str, int],
    now: datetime,
    number: int,
) -> None:
    desk = await desk_of(connection, document.point, points[document.point], now, number)
    await document.write(desk)
    await judge_again(connection, list(points.values()))
    # The daemon may read another meter from now on.
    await documents.tell(connection)


async def judge_again(connection: AsyncConnection[Any], points: list[int]) -> None:
    """Slots, journal and marks follow the facts that were written."""
    zone = ZoneInfo(await zone_name(connection))
    await rejudge(connection, dict.fromkeys(points, ALL_DAYS.first), zone)
    # Use and ratio may be others too, where every day shows what it showed.
    await mark_points(connection, dict.fromkeys(points, ALL_DAYS), "document")


async def _pictures(
    connection: AsyncConnection[Any], points: Mapping[str, int], now: datetime, number: int
) -> dict[str, Picture]:
    return {
        it: _picture(await desk_of(connection, it, point_id, now, number))
        for it, point_id in points.items()
    }


def _picture(desk: Desk) -> Picture:
    held = []
    for row in desk.holdings:
        is_open = row.opened_on is not None and row.agreement is not None
        first = max(row.from_day, row.opened_on or row.from_day)
        is_empty = row.to_day is not None and row.to_day <= first
        if is_open and not is_empty:
            held.append(Holding(row.account, first, row.to_day))
    return Picture(judge(desk.facts), tuple(held), desk.zone, tuple(_ratios(desk)))


def _ratios(desk: Desk) -> Iterator[Multiplied]:
    told = sorted((moment(it.at, desk.zone), it.ratio) for it in in_force(desk.facts).ratios)
    ratio = None
    for since, becomes in told:
        if becomes != ratio:
            yield Multiplied(since.astimezone(desk.zone), becomes)
        ratio = becomes
