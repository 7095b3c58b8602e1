"""The ledger: append, balance, repeat safely."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from protocols.errors import MeterdError
from storage.sql import Connection, array, fetch_dicts, fetch_records, fetch_row, fetch_rows, load

SQL = load("ledger")
Stream = tuple[date, str]
"""A month and a component of its price."""


class KeyReused(MeterdError):
    """The key was used before for something else.

    The caller acts: a key belongs to one transaction for ever."""


class Outcome(Enum):
    """What posting did. A key that is there already moves nothing: money is posted once (R51)."""

    POSTED = "posted"
    ALREADY_POSTED = "already posted"


@dataclass(frozen=True, slots=True)
class Leg:
    """`amount_fen` is positive where the account's holder gains.

    Charges carry their rating period and component."""

    account: str
    amount_fen: int
    period: date | None = None
    component: str | None = None

    @property
    def stream(self) -> Stream | None:
        """What it is for; None where it is no charge."""
        if self.period is None or self.component is None:
            return None
        return self.period, self.component


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is posted at once under one key.

    `key` is made by the caller; `content` is what the key stands for and is compared when it
    comes again (R51). `actor`: `person:`, `role:` or `daemon:` with a name. `channel`: by which
    money came or went. `value_date`: the local day that it counts for, None: that of the posting.
    `document`: on whose word. `reverses`: the id of what it takes back."""

    key: str
    kind: str
    content: Mapping[str, Any]
    legs: tuple[Leg, ...]
    actor: str
    channel: str | None = None
    value_date: date | None = None
    document: int | None = None
    reverses: int | None = None


@dataclass(frozen=True, slots=True)
class PostedRow:
    """A transaction of the ledger. `reversed_by`: the key of what took it back, None: nothing."""

    id: int
    key: str
    kind: str
    content: Mapping[str, Any]
    channel: str | None
    value_date: date
    reversed_by: str | None


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A locked account row; `number` is what persons call it."""

    id: int
    number: str
    tariff_id: str
    state: str
    opened_on: date | None
    agreement: str | None
    warn_fen: int
    trip_fen: int
    reconnect_fen: int
    credit_limit_fen: int
    credit_state: str
    episode_started_at: datetime | None


class CreditRow(NamedTuple):
    """A credit state; the arrears episode starts when the credit is exhausted."""

    account_id: int
    credit_state: str
    episode_started_at: datetime | None
    """Of the episode that is open; None while there is none."""
    was_started_at: datetime | None


def prepaid(account: str) -> str:
    """The ledger account of a customer's prepaid balance."""
    return f"customer:{account}:prepaid"


async def post(connection: Connection, transactions: Sequence[Transaction]) -> list[Outcome]:
    """Append transactions; one whose key is there already changes nothing.

    In the caller's database transaction. KeyReused if a key is there with another kind or content.
    The database refuses legs that do not sum to zero."""
    outcomes = []
    for outcome in await post_each(connection, transactions):
        if isinstance(outcome, KeyReused):
            raise outcome
        outcomes.append(outcome)
    return outcomes


async def post_each(
    connection: Connection, transactions: Sequence[Transaction]
) -> list[Outcome | KeyReused]:
    """The same for transactions that have nothing to do with each other.

    What is KeyReused is not posted, and keeps none of the others from being so."""
    if not transactions:
        return []
    first_of = {posted.key: posted for posted in reversed(transactions)}
    new = await _add_transactions(connection, list(first_of.values()))
    before = await _known(connection, first_of.keys() - new)
    before |= {key: (first_of[key].kind, dict(first_of[key].content)) for key in new}
    outcomes: list[Outcome | KeyReused] = []
    for posted in transactions:
        kind, content = before[posted.key]
        # Told twice at once, it is the first of them that is new.
        if posted.key in new and posted is first_of[posted.key]:
            outcomes.append(Outcome.POSTED)
        elif (kind, content) == (posted.kind, dict(posted.content)):
            outcomes.append(Outcome.ALREADY_POSTED)
        else:
            outcomes.append(_key_reused(posted.key, kind, content))
    return outcomes


async def _add_transactions(
    connection: Connection, transactions: Sequence[Transaction]
) -> set[str]:
    """The keys of those that are new."""
    legs = [leg for posted in transactions for leg in posted.legs]
    accounts = await ledger_accounts(connection, {leg.account for leg in legs})
    streams = await posting_streams(connection, {stream for leg in legs if (stream := leg.stream)})
    values = {
        "keys": [posted.key for posted in transactions],
        "kinds": [posted.kind for posted in transactions],
        "accounts": [array(accounts[leg.account] for leg in it.legs) for it in transactions],
        "amounts": [array(leg.amount_fen for leg in it.legs) for it in transactions],
        "streams": [_stream_array(posted.legs, streams) for posted in transactions],
        "contents": [Jsonb(dict(posted.content)) for posted in transactions],
        "actors": [posted.actor for posted in transactions],
        "channels": [posted.channel for posted in transactions],
        "value_dates": [posted.value_date for posted in transactions],
        "documents": [posted.document for posted in transactions],
        "reversed": [posted.reverses for posted in transactions],
    }
    return {key for (key,) in await fetch_rows(connection, SQL["add_transactions"], values)}


def _stream_array(legs: Sequence[Leg], streams: Mapping[Stream, int]) -> str | None:
    """What each leg is for; None where none is for anything."""
    numbers = [streams[leg.stream] if leg.stream else None for leg in legs]
    return array(numbers) if any(numbers) else None


async def ledger_accounts(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """Name -> id of ledger accounts; those that are missing are made."""
    wanted = set(names)
    found: dict[str, int] = dict(
        await fetch_rows(connection, SQL["account_ids"], {"names": list(wanted)})
    )
    if missing := wanted - found.keys():
        # Sorted, because two who make the same accounts must do so in the same order.
        values = {"names": sorted(missing)}
        await connection.execute(SQL["ensure_accounts"], values)
        found |= await fetch_rows(connection, SQL["account_ids"], values)
    return found


async def posting_streams(connection: Connection, streams: Iterable[Stream]) -> dict[Stream, int]:
    """Month and component -> id of what legs are for; those that are missing are made."""
    wanted = set(streams)
    if not wanted:
        return {}
    found = await _stream_ids(connection, wanted)
    if missing := wanted - found.keys():
        await connection.execute(SQL["ensure_streams"], _streams(missing))
        found |= await _stream_ids(connection, missing)
    return found


async def _stream_ids(connection: Connection, streams: Collection[Stream]) -> dict[Stream, int]:
    rows = await fetch_rows(connection, SQL["stream_ids"], _streams(streams))
    return {(period, component): number for period, component, number in rows}


def _streams(streams: Collection[Stream]) -> dict[str, list[Any]]:
    # Sorted, because two who make the same streams must do so in the same order.
    ordered = sorted(streams)
    return {
        "periods": [period for period, _ in ordered],
        "components": [component for _, component in ordered],
    }


async def _known(
    connection: Connection, keys: Collection[str]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """By key the kind and content of what was posted before."""
    if not keys:
        return {}
    rows = await fetch_rows(connection, SQL["known_contents"], {"keys": sorted(keys)})
    return {key: (kind, content) for key, kind, content in rows}


def _key_reused(key: str, kind: str, content: Mapping[str, Any]) -> KeyReused:
    told = ", ".join(f"{name} {value}" for name, value in content.items())
    return KeyReused(
        f"key {key} was used before for another transaction ({kind}: {told}); nothing was posted"
    )


async def posted(connection: Connection, key: str) -> PostedRow | None:
    """The transaction with this key."""
    found = await fetch_records(connection, PostedRow, SQL["posted"], {"key": key})
    return found[0] if found else None


async def legs_of(connection: Connection, transaction: int) -> list[Leg]:
    """The legs of a transaction, in order."""
    rows = await fetch_rows(connection, SQL["legs_of"], {"transaction": transaction})
    return [Leg(*row) for row in rows]


async def lock_accounts(connection: Connection, accounts: Iterable[int]) -> dict[int, AccountRow]:
    """Lock account rows, in order of id, until the transaction ends. Unknown ids are left out."""
    # In one order for everybody: two batches that share accounts wait, they do not deadlock.
    values = {"accounts": sorted(set(accounts))}
    await connection.execute(SQL["lock_accounts"], values)
    return await account_rows(connection, values["accounts"])


async def lock_accounts_by_number(
    connection: Connection, numbers: Iterable[str]
) -> dict[int, AccountRow]:
    """The same of what persons call them."""
    values = {"numbers": list(numbers)}
    locked = await fetch_rows(connection, SQL["lock_accounts_by_number"], values)
    return await account_rows(connection, [account for (account,) in locked])


async def account_rows(connection: Connection, accounts: Sequence[int]) -> dict[int, AccountRow]:
    """Account rows as they are; who moves money has locked them by a statement before."""
    # What that one waited for is not in its own snapshot.
    rows = await fetch_records(connection, AccountRow, SQL["accounts"], {"accounts": accounts})
    return {row.id: row for row in rows}


async def open_from(connection: Connection) -> date:
    """The first day that no closed month holds."""
    row = await fetch_row(connection, SQL["open_from"])
    assert row is not None
    return row[0] or date.min


async def close_month(connection: Connection, month: date, actor: str, reason: str) -> None:
    """Close a month."""
    values = {"month": month, "actor": actor, "reason": reason}
    await connection.execute(SQL["close_month"], values)


async def drawn_now(connection: Connection) -> str:
    """A number above those of all database transactions that write now; in none of the caller's."""
    row = await fetch_row(connection, SQL["drawn_now"])
    assert row is not None
    return str(row[0])


async def have_ended(connection: Connection, through: str) -> bool:
    """Whether all database transactions with numbers up to this one have ended."""
    row = await fetch_row(connection, SQL["have_ended"], {"through": through})
    return row is not None and bool(row[0])


async def balances(connection: Connection, accounts: Iterable[int]) -> dict[int, int]:
    """Prepaid balance of each account in fen."""
    values = {"accounts": list(accounts)}
    return dict(await fetch_rows(connection, SQL["balances"], values))


async def put_credit(connection: Connection, rows: Sequence[CreditRow], now: datetime) -> None:
    """Store credit states that changed, with the arrears episodes that begin and end by it."""
    if not rows:
        return
    values = {
        "accounts": [row.account_id for row in rows],
        "states": [row.credit_state for row in rows],
    }
    await connection.execute(SQL["put_credit"], values)
    beginning = [row for row in rows if row.was_started_at is None and row.episode_started_at]
    ending = [row for row in rows if row.was_started_at and row.episode_started_at is None]
    if beginning:
        begun = {
            "accounts": [row.account_id for row in beginning],
            "starts": [row.episode_started_at for row in beginning],
        }
        await connection.execute(SQL["begin_episodes"], begun)
    if ending:
        ended = {"accounts": [row.account_id for row in ending], "now": now}
        await connection.execute(SQL["end_episodes"], ended)


async def activate(connection: Connection, accounts: Collection[int]) -> None:
    """Make accounts active."""
    if accounts:
        await connection.execute(SQL["activate"], {"accounts": sorted(accounts)})


async def statement(connection: Connection, account: str, most: int) -> list[dict[str, Any]]:
    """The newest `most` movements of an account: recorded_at, key, kind, amount_fen."""
    values = {"account": account, "most": most}
    return await fetch_dicts(connection, SQL["statement"], values)


async def sum_of_balances(connection: Connection) -> int:
    """Fen over all ledger accounts: 0, or something is very wrong."""
    row = await fetch_row(connection, SQL["sum_of_balances"])
    assert row is not None
    return int(row[0])


async def integrity(connection: Connection) -> dict[str, int]:
    """What must be true of the ledger, counted.

    Sum of balances, unbalanced transactions, wrong balances, months whose postings are not what is
    kept of them: all are 0."""
    (row,) = await fetch_dicts(connection, SQL["integrity"])
    return row
