"""A person writes down what a customer was told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection

from protocols.errors import MeterdError
from storage import notice_records
from storage.documents import Said
from storage.notice_records import RecordedNotice

OF_AN_EPISODE: Final = frozenset({"written", "final"})


class NoticeRefused(MeterdError):
    """A notice that cannot be written down so. Who typed it acts."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was told, and when. `delivered_at` None: nobody has a receipt yet."""

    kind: str
    channel: str
    language: str
    text: str
    amount_fen: int | None
    deadline_at: datetime | None
    planned_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None


async def record_notice(
    connection: AsyncConnection[Any], account: str, told: Told, said: Said
) -> int:
    """Write down a notice; returns its number.

    NoticeRefused: a cut is announced to somebody who is not in arrears, a receipt has no evidence,
    or it has not happened yet: it would count by itself when its time comes. Without an amount it
    is what is missing to the reconnect threshold now."""
    found = await notice_records.told_about(connection, account)
    if found is None:
        raise NoticeRefused(f"no account {account}")
    account_id, episode_id, missing_fen = found
    if told.kind in OF_AN_EPISODE and episode_id is None:
        raise NoticeRefused(f"account {account} is not in arrears: there is nothing to announce")
    if told.delivered_at is not None and not said.evidence:
        raise NoticeRefused("say with --evidence where the receipt can be looked up")
    if (
        told.sent_at is not None
        and told.delivered_at is not None
        and told.delivered_at < told.sent_at
    ):
        raise NoticeRefused("it was delivered before it was sent: mend --sent or --delivered")
    notice = RecordedNotice(
        account_id=account_id,
        episode_id=episode_id,
        kind=told.kind,
        channel=told.channel,
        language=told.language,
        text=told.text,
        amount_fen=missing_fen if told.amount_fen is None else told.amount_fen,
        deadline_at=told.deadline_at,
        planned_at=told.planned_at,
        actor=said.actor,
        evidence=said.evidence,
        sent_at=told.sent_at or told.delivered_at,
        delivered_at=told.delivered_at,
    )
    number = await notice_records.record(connection, notice)
    if number is None:
        raise NoticeRefused("it has not happened yet: mend --sent or --delivered")
    return number
