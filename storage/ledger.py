"""The ledger: append, balance, repeat safely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from protocols.errors import MeterdError
from storage.sql import load

SQL = load("ledger")


class KeyReused(MeterdError):
    """The key was used before for something else. The caller acts: a key belongs to one transaction
    for ever."""


class Outcome(Enum):
    POSTED = "posted"
    ALREADY_POSTED = "already posted"


@dataclass(frozen=True, slots=True)
class Leg:
    """`amount_fen` is positive where the account's holder gains. Charges carry their rating period
    and component."""

    account: str
    amount_fen: int
    period: date | None = None
    component: str | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """`key` is made by the caller; `content` is what the key stands for and is compared when it
    comes again."""

    key: str
    kind: str
    content: Mapping[str, Any]
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A locked account row."""

    id: str
    tariff_id: str
    state: str
    open_from: date | None
    agreement: str | None
    warn_fen: int
    trip_fen: int
    reconnect_fen: int
    credit_limit_fen: int
    credit_state: str
    episode_started_at: datetime | None


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A link in force. `delta` in the register's smallest step."""

    id: int
    point_id: str
    from_day: date
    to_day: date
    revision: int
    delta: int
    rolled_over: bool


def prepaid(account: str) -> str:
    """The ledger account of a customer's prepaid balance."""
    return f"customer:{account}:prepaid"


async def post(
    connection: AsyncConnection[Any], transactions: Sequence[Transaction]
) -> list[Outcome]:
    """Append transactions; one whose key is there already changes nothing. In the caller's database
    transaction.

    KeyReused if a key is there with other content. The database refuses legs that do not sum to
    zero at commit."""
    if not transactions:
        return []
    names = sorted({leg.account for transaction in transactions for leg in transaction.legs})
    await connection.execute(SQL["ensure_accounts"], {"names": names})
    ids = dict(await (await connection.execute(SQL["account_ids"], {"names": names})).fetchall())
    values = {
        "keys": [transaction.key for transaction in transactions],
        "kinds": [transaction.kind for transaction in transactions],
        "contents": [Jsonb(dict(transaction.content)) for transaction in transactions],
    }
    new = dict(await (await connection.execute(SQL["add_transactions"], values)).fetchall())
    await _refuse_reused_keys(connection, [t for t in transactions if t.key not in new])
    legs = [
        (new[t.key], i, leg) for t in transactions if t.key in new for i, leg in enumerate(t.legs)
    ]
    await connection.execute(
        SQL["add_postings"],
        {
            "transactions": [transaction for transaction, _, _ in legs],
            "legs": [i for _, i, _ in legs],
            "accounts": [ids[leg.account] for _, _, leg in legs],
            "amounts": [leg.amount_fen for _, _, leg in legs],
            "periods": [leg.period for _, _, leg in legs],
            "components": [leg.component for _, _, leg in legs],
        },
    )
    return [Outcome.POSTED if t.key in new else Outcome.ALREADY_POSTED for t in transactions]


async def _refuse_reused_keys(
    connection: AsyncConnection[Any], known: Sequence[Transaction]
) -> None:
    if not known:
        return
    rows = await (
        await connection.execute(SQL["known_contents"], {"keys": [t.key for t in known]})
    ).fetchall()
    contents = dict(rows)
    for transaction in known:
        if contents[transaction.key] != dict(transaction.content):
            before = ", ".join(
                f"{name} {value}" for name, value in contents[transaction.key].items()
            )
            raise KeyReused(
                f"key {transaction.key} was used before for another transaction ({before}); nothing was posted"
            )


async def lock_accounts(
    connection: AsyncConnection[Any], accounts: Iterable[str]
) -> dict[str, AccountRow]:
    """Lock account rows, in order of id, until the transaction ends. Unknown ids are left out."""
    async with connection.cursor(row_factory=class_row(AccountRow)) as cursor:
        rows = await (
            await cursor.execute(SQL["lock_accounts"], {"accounts": sorted(set(accounts))})
        ).fetchall()
    return {row.id: row for row in rows}


async def account_of_points(
    connection: AsyncConnection[Any], points: Iterable[str]
) -> dict[str, str]:
    """Point -> account, for the points that have one."""
    return dict(
        await (
            await connection.execute(SQL["account_of_points"], {"points": list(points)})
        ).fetchall()
    )


async def opened_points(
    connection: AsyncConnection[Any], days: Mapping[str, date]
) -> dict[str, tuple[date, date | None]]:
    """Of the points whose opening freeze is published: the opening day, and the day on which the
    last link ends that lies before the day given (None when nothing is linked before it)."""
    values = {"points": list(days), "days": list(days.values())}
    rows = await (await connection.execute(SQL["opened_points"], values)).fetchall()
    return {point: (opening, linked) for point, opening, linked in rows}


async def points_to_open(connection: AsyncConnection[Any]) -> dict[str, date]:
    """Point -> opening day, of accounts that still wait although an opening freeze is there."""
    return dict(await (await connection.execute(SQL["points_to_open"])).fetchall())


async def balances(connection: AsyncConnection[Any], accounts: Iterable[str]) -> dict[str, int]:
    """Prepaid balance of each account in fen."""
    return dict(
        await (await connection.execute(SQL["balances"], {"accounts": list(accounts)})).fetchall()
    )


async def tariff_versions(
    connection: AsyncConnection[Any], tariffs: Iterable[str]
) -> list[tuple[str, date, Decimal]]:
    """(tariff, effective from, yuan per kWh) in order of tariff and start."""
    values = {"tariffs": sorted(set(tariffs))}
    return await (await connection.execute(SQL["tariff_versions"], values)).fetchall()


async def streams(
    connection: AsyncConnection[Any], accounts: Iterable[str], periods: Iterable[date]
) -> list[tuple[str, date, str, Decimal, int]]:
    """(account, period, component, exact yuan, posted fen)."""
    values = {"accounts": list(accounts), "periods": list(periods)}
    return await (await connection.execute(SQL["streams"], values)).fetchall()


async def put_streams(
    connection: AsyncConnection[Any], rows: Sequence[tuple[str, date, str, Decimal, int]]
) -> None:
    """Store streams as (account, period, component, exact yuan, posted fen)."""
    names = ("accounts", "periods", "components", "exacts", "posted")
    await _execute_columns(connection, "put_streams", names, rows)


async def live_links(
    connection: AsyncConnection[Any], spans: Sequence[tuple[str, date, date]]
) -> list[LinkRow]:
    """Links in force that overlap (point, first day, last day), by point and time."""
    values = {
        "points": [point for point, _, _ in spans],
        "firsts": [first for _, first, _ in spans],
        "lasts": [last for _, _, last in spans],
    }
    async with connection.cursor(row_factory=class_row(LinkRow)) as cursor:
        return await (await cursor.execute(SQL["live_links"], values)).fetchall()


async def charges_of_links(
    connection: AsyncConnection[Any], links: Sequence[int]
) -> list[tuple[Any, ...]]:
    """(link id, period, component, kWh, price, exact yuan, tariff, its start, estimated split), by
    link and part."""
    return await (
        await connection.execute(SQL["charges_of_links"], {"links": list(links)})
    ).fetchall()


async def replace_links(connection: AsyncConnection[Any], links: Sequence[int]) -> None:
    """Put links out of force."""
    await connection.execute(SQL["replace_links"], {"links": list(links)})


async def add_links(
    connection: AsyncConnection[Any], rows: Sequence[tuple[str, str, date, date, int, bool, str]]
) -> dict[tuple[str, date, date], tuple[int, int]]:
    """Put (point, account, from, to, delta, rolled over, state) in force; returns span -> (link id,
    revision)."""
    names = ("points", "accounts", "froms", "tos", "deltas", "rolled", "states")
    added = await _execute_columns(connection, "add_links", names, rows)
    return {(point, first, last): (link, revision) for link, point, first, last, revision in added}


async def add_charges(connection: AsyncConnection[Any], rows: Sequence[tuple[Any, ...]]) -> None:
    """Store (link id, part, period, component, kWh, price, exact yuan, tariff, its start, estimated
    split)."""
    names = (
        *("links", "parts", "periods", "components", "kwhs"),
        *("prices", "exacts", "tariffs", "tariff_froms", "estimated"),
    )
    await _execute_columns(connection, "add_charges", names, rows)


async def put_credit(
    connection: AsyncConnection[Any], rows: Sequence[tuple[str, str, datetime | None]]
) -> None:
    """Store (account, credit state, start of its arrears episode)."""
    await _execute_columns(connection, "put_credit", ("accounts", "states", "episodes"), rows)


async def activate(connection: AsyncConnection[Any], accounts: Iterable[str]) -> list[str]:
    """Make pending accounts active that have agreement, opening day and all opening freezes;
    returns them."""
    rows = await (
        await connection.execute(SQL["activate"], {"accounts": list(accounts)})
    ).fetchall()
    return [account for (account,) in rows]


async def statement(
    connection: AsyncConnection[Any], account: str, most: int
) -> list[dict[str, Any]]:
    """The newest `most` movements of an account: recorded_at, key, kind, amount_fen."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (
            await cursor.execute(SQL["statement"], {"account": account, "most": most})
        ).fetchall()


async def held_spans(connection: AsyncConnection[Any], account: str) -> list[dict[str, Any]]:
    """Spans of the account that are too long to be billed: point_id, from_day, to_day, delta."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(SQL["held_spans"], {"account": account})).fetchall()


async def sum_of_balances(connection: AsyncConnection[Any]) -> int:
    """Fen over all ledger accounts: 0, or something is very wrong."""
    row = await (await connection.execute(SQL["sum_of_balances"])).fetchone()
    assert row is not None
    return int(row[0])


async def integrity(connection: AsyncConnection[Any]) -> dict[str, int]:
    """What must be true of the ledger, counted: sum of balances, unbalanced transactions, wrong
    balances, streams."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(SQL["integrity"])).fetchone()
    assert row is not None
    return row


async def _execute_columns(
    connection: AsyncConnection[Any],
    question: str,
    names: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
) -> list[tuple[Any, ...]]:
    """Ask with one array per column."""
    if not rows:
        return []
    columns = map(list, zip(*rows, strict=True))
    cursor = await connection.execute(SQL[question], dict(zip(names, columns, strict=True)))
    return await cursor.fetchall() if cursor.description else []
