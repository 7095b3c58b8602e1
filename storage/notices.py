"""What customers are told: contacts, notices, what waits to be sent, receipts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeVar

from storage.sql import Connection, Row, fetch_dicts, fetch_records, fetch_row, fetch_rows, load

SQL = load("notices")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A notice that is made. `contact_id`: None where somebody delivers it in person.

    `amount_fen`: what is missing, as the text says."""

    account_id: int
    contact_id: int | None
    episode_id: int | None
    kind: str
    occasion: str
    channel: str
    language: str
    text: str = field(repr=False)
    amount_fen: int
    deadline_at: datetime | None
    planned_at: datetime | None


@dataclass(frozen=True, slots=True)
class NoticeToSend:
    """A notice that is to be sent, and where to. `tries`: how often it was tried before."""

    notice_id: int
    tries: int
    account_id: int
    contact_id: int
    account: str
    kind: str
    occasion: str
    channel: str
    language: str
    text: str = field(repr=False)
    amount_fen: int
    deadline_at: datetime | None
    planned_at: datetime | None
    made_at: datetime
    address: str = field(repr=False)


async def import_contacts(connection: Connection, rows: Iterable[Row]) -> int:
    """Make the contacts those of `rows`; returns how many there are.

    What the rows name no more is not used again, and stays for what was sent there."""
    async with connection.transaction():
        await connection.execute(SQL["stage_contacts"])
        count = 0
        async with (
            connection.cursor() as cursor,
            cursor.copy("COPY staged_contact FROM STDIN") as copy,
        ):
            for row in rows:
                await copy.write_row(row)
                count += 1
        for name in ("update_contacts", "add_contacts", "forget_contacts"):
            await connection.execute(SQL[name])
    return count


async def listed_contacts(
    connection: Connection, account: str | None = None
) -> list[dict[str, Any]]:
    """Contacts with what became of what was sent there."""
    return await fetch_dicts(connection, SQL["listed_contacts"], {"account": account})


async def accounts_to_look_at(connection: Connection) -> list[int]:
    """Those that are short of money, cut, or wait for the button or for a visit."""
    return [account for (account,) in await fetch_rows(connection, SQL["accounts_to_look_at"])]


async def accounts_visited(connection: Connection) -> list[int]:
    """Those to whom somebody has to go with a written notice."""
    return [account for (account,) in await fetch_rows(connection, SQL["accounts_visited"])]


async def accounts_that_are_good(connection: Connection) -> list[int]:
    """Those whose balance may last only a few days all the same."""
    return [account for (account,) in await fetch_rows(connection, SQL["accounts_that_are_good"])]


async def accounts_to_tell(
    connection: Connection, accounts: Iterable[int], now: datetime, charged_since: date
) -> list[dict[str, Any]]:
    """What decides what accounts are told, without contacts and notices."""
    values = {"accounts": list(accounts), "now": now, "charged_since": charged_since}
    return await fetch_dicts(connection, SQL["accounts_to_tell"], values)


async def contacts_of(connection: Connection, accounts: Iterable[int]) -> list[dict[str, Any]]:
    """The ways to reach accounts, in the order in which they are tried, without addresses."""
    return await fetch_dicts(connection, SQL["contacts_of"], {"accounts": list(accounts)})


async def told(connection: Connection, since: Mapping[int, datetime]) -> list[dict[str, Any]]:
    """Notices of accounts, each account's made since then, and those before the end of a cycle."""
    values = {"accounts": list(since), "since": list(since.values())}
    return await fetch_dicts(connection, SQL["told"], values)


async def persons_asked(
    connection: Connection, accounts: Iterable[int]
) -> list[tuple[int, str, datetime, bool, bool]]:
    """(account, kind, when, is open, is called back) of the last task of each account for a person
    to tell it (`notice`), and to go there with a written notice (`visit`)."""
    return await fetch_rows(connection, SQL["persons_asked"], {"accounts": list(accounts)})


async def add_notice(connection: Connection, notice: NewNotice, now: datetime) -> int | None:
    """Make a notice that waits to be sent; None if it was made before."""
    values = {name: getattr(notice, name) for name in NewNotice.__slots__}
    row = await fetch_row(connection, SQL["add_notice"], {**values, "actor": "daemon", "now": now})
    if row is None:
        return None
    await connection.execute(SQL["send_notice"], {"notice_id": row[0], "now": now})
    return int(row[0])


async def ask_person(
    connection: Connection, account: int, cause: str, *, now: datetime, due_at: datetime
) -> None:
    """Open a task to tell an account something, unless one is open."""
    values = {"account_id": account, "cause": cause, "now": now, "due_at": due_at}
    await connection.execute(SQL["ask_person"], values)


async def open_visits(
    connection: Connection, papers: Sequence[NewNotice], *, now: datetime, due_at: datetime
) -> list[tuple[int, int]]:
    """Somebody has to go there with each of these; returns (job, account). Lock the accounts
    first."""
    values = {name: [getattr(it, name) for it in papers] for name in NewNotice.__slots__}
    times = {"now": now, "due_at": due_at}
    return await fetch_rows(connection, SQL["open_visits"], {**values, **times})


async def call_back(connection: Connection, why: Mapping[int, str], now: datetime) -> list[int]:
    """Nobody has to go to these accounts any more; returns the jobs that end so."""
    values = {"accounts": list(why), "why": list(why.values()), "now": now}
    # A receipt that comes now locks the notice, and then the job, as here.
    await connection.execute(SQL["lock_papers"], values)
    await connection.execute(SQL["withdraw_papers"], values)
    return [number for (number,) in await fetch_rows(connection, SQL["call_back"], values)]


async def due_to_send(connection: Connection, now: datetime, most: int) -> list[tuple[int, int]]:
    """(notice, account) of what is to be sent now, without locking anything."""
    return await fetch_rows(connection, SQL["due_to_send"], {"now": now, "most": most})


async def lock_to_send(connection: Connection, notice: int, now: datetime) -> NoticeToSend | None:
    """A notice that is still to be sent, locked; lock its account first."""
    values = {"notice_id": notice, "now": now}
    found = await fetch_records(connection, NoticeToSend, SQL["lock_to_send"], values)
    return found[0] if found else None


async def put_off(
    connection: Connection, notice: int, next_at: datetime, *, is_tried: bool
) -> None:
    """A notice is sent (again) later."""
    values = {"notice_id": notice, "next_at": next_at, "tried": int(is_tried)}
    await connection.execute(SQL["put_off"], values)


async def note_error(connection: Connection, notice: int, error: str) -> None:
    """Why a notice could not be sent."""
    await connection.execute(SQL["note_error"], {"notice_id": notice, "error": error})


async def mark_sent(connection: Connection, notice: int, at: datetime) -> None:
    """A channel took the notice; whether it arrived, a receipt tells."""
    async with connection.transaction():
        await connection.execute(SQL["mark_sent"], {"notice_id": notice, "at": at})
        await connection.execute(SQL["end_sending"], {"notice_id": notice})


async def mark_failed(
    connection: Connection, notice: int, at: datetime, receipt: str, actor: str
) -> bool:
    """It reaches nobody: not sent any more. False: it was told already what became of it."""
    values = {"notice_id": notice, "at": at, "receipt": receipt, "actor": actor}
    return await _end(connection, SQL["mark_failed"], values)


async def mark_delivered(
    connection: Connection, notice: int, at: datetime, receipt: str, actor: str
) -> bool:
    """A positive receipt came. False: it was told already what became of it."""
    values = {"notice_id": notice, "at": at, "receipt": receipt, "actor": actor}
    return await _end(connection, SQL["mark_delivered"], values)


async def _end(connection: Connection, statement: str, values: Mapping[str, Any]) -> bool:
    """Whether the statement told what became of the notice; it is sent no more in any case."""
    async with connection.transaction():
        cursor = await connection.execute(statement, values)
        await connection.execute(SQL["end_sending"], {"notice_id": values["notice_id"]})
    return cursor.rowcount > 0


async def mark_bounced(connection: Connection, notice: int, at: datetime) -> None:
    """Nothing can be delivered any more where this notice went."""
    await connection.execute(SQL["mark_bounced"], {"notice_id": notice, "at": at})


async def channel_of(connection: Connection, notice: int) -> str | None:
    """Over which channel a notice goes; None: there is no such notice, or a person tells it."""
    row = await fetch_row(connection, SQL["channel_of"], {"notice_id": notice})
    return row[0] if row else None


async def waiting(connection: Connection) -> list[tuple[str, int, datetime]]:
    """(channel, notices that wait to be sent, when the oldest was made)."""
    return await fetch_rows(connection, SQL["waiting"])
