"""Making notices, and releasing each to be sent: both with the account locked (R77)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, Final, Literal

import structlog
from psycopg import AsyncConnection

from config.notice_texts import Texts
from daemon.billing.suggestion import days_left, usual_day_fen
from daemon.control.authority import Authority
from daemon.notices.due import (
    VISIT,
    AccountToTell,
    AskPerson,
    CallBack,
    Contact,
    Due,
    Occasion,
    PersonAsked,
    SendPerson,
    Step,
    Terms,
    ToldNotice,
    due,
    is_quiet,
    is_still_due,
)
from daemon.notices.wording import SiteWords, notice_text
from storage import field_jobs, ledger
from storage import notices as stored
from storage.notices import NewNotice, NoticeToSend

log = structlog.get_logger("notices")

AT_ONCE: Final = 500
"""Accounts that are looked at by one round of statements."""
LOCKED_AT_ONCE: Final = 50
BOUNCE_LASTS: Final = timedelta(days=30)
"""A contact where nothing could be delivered is tried again after so long."""
PAUSES: Final = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
)
"""After each try that a channel did not take; after the last the notice is given up."""
LOOK_AGAIN: Final = timedelta(minutes=5)
"""At a notice that may not be sent now: at night, while a payment is under way."""
PERSON_WITHIN: Final = timedelta(days=1)
LANGUAGE: Final = "zh"
"""Of a notice for somebody who has no contact."""
LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Telling:
    """What a site needs to tell customers something. `channels`: those that are configured.

    `words`: of the site, by language."""

    authority: Authority
    terms: Terms
    channels: Collection[str]
    texts: Texts
    words: Mapping[str, SiteWords]


async def make_notices(
    connection: AsyncConnection[Any], telling: Telling, accounts: Iterable[int], now: datetime
) -> int:
    """Make what is due of these accounts; returns how many notices were made.

    Each is made once, whoever looks how often."""
    made = 0
    left = iter(accounts)
    while several := list(islice(left, AT_ONCE)):
        found = await accounts_to_tell(connection, telling, several, now)
        short = [it.account_id for it in found if _steps(it, telling, now)]
        for start in range(0, len(short), LOCKED_AT_ONCE):
            chosen = short[start : start + LOCKED_AT_ONCE]
            async with connection.transaction():
                # Who paid a moment ago is told nothing: everything is looked at again here.
                await ledger.lock_accounts(connection, chosen)
                known = await accounts_to_tell(connection, telling, chosen, now)
                await _go_there(connection, telling, known, now)
                for account in known:
                    made += await _make(connection, telling, account, now)
    return made


async def release_notice(
    connection: AsyncConnection[Any], telling: Telling, notice: int, account: int, now: datetime
) -> NoticeToSend | None:
    """A notice that is to be sent now and is marked as being tried; None: not now, or no more.

    From here on it may be sent: a crash before `mark_sent` sends it once more with the same
    number, by which its receiver knows it."""
    async with connection.transaction():
        await ledger.lock_accounts(connection, [account])
        to_send = await stored.lock_to_send(connection, notice, now)
        if to_send is None:
            return None
        (known,) = await accounts_to_tell(connection, telling, [account], now)
        if is_quiet(known, telling.terms, now):
            await stored.put_off(connection, notice, now + LOOK_AGAIN, is_tried=False)
            return None
        made = next((it for it in known.told if it.id == notice), None)
        policy = telling.authority.policy_for(known.profile)
        if made is None or not is_still_due(known, made, policy, telling.terms, now):
            await stored.mark_failed(connection, notice, now, "not due any more", "daemon")
            log.info("notice withdrawn", notice=notice, account=to_send.account)
            return None
        pause = PAUSES[min(to_send.tries, len(PAUSES) - 1)]
        await stored.put_off(connection, notice, now + pause, is_tried=True)
        return to_send


async def not_sent(
    connection: AsyncConnection[Any],
    notice: NoticeToSend,
    error: str,
    now: datetime,
    *,
    is_final: bool = False,
) -> bool:
    """A channel did not take it; True if it is given up, so that the next contact is tried.

    `is_final`: it never will."""
    if notice.tries < len(PAUSES) and not is_final:
        await stored.note_error(connection, notice.notice_id, error)
        return False
    return await stored.mark_failed(connection, notice.notice_id, now, error, "daemon")


async def take_receipt(
    connection: AsyncConnection[Any],
    *,
    notice: int,
    state: Literal["delivered", "failed", "bounced"],
    at: datetime,
    receipt: str,
    actor: str,
    channel: str | None = None,
) -> bool:
    """What became of a notice. False: that is known, there is none, or not of this `channel`.

    `actor`: who says so."""
    async with connection.transaction():
        if channel is not None and await stored.channel_of(connection, notice) != channel:
            return False
        if state == "delivered":
            is_new = await stored.mark_delivered(connection, notice, at, receipt, actor)
            if is_new:
                await field_jobs.close_visit(connection, notice, f"delivered: {receipt}", actor)
            return is_new
        if state == "bounced":
            await stored.mark_bounced(connection, notice, at)
        is_new = await stored.mark_failed(connection, notice, at, receipt or state, actor)
        if is_new:
            await field_jobs.close_visit(connection, notice, f"not delivered: {receipt}", actor)
        return is_new


async def accounts_to_tell(
    connection: AsyncConnection[Any], telling: Telling, accounts: Sequence[int], now: datetime
) -> list[AccountToTell]:
    """All that decides what these accounts are told, by a constant number of statements."""
    today = now.astimezone(telling.authority.zone).date()
    last_month = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    rows = await stored.accounts_to_tell(connection, accounts, now, last_month)
    contacts: defaultdict[int, list[Contact]] = defaultdict(list)
    for row in await stored.contacts_of(connection, accounts):
        contacts[row.pop("account_id")].append(_contact(row, telling.channels, now))
    told: defaultdict[int, list[ToldNotice]] = defaultdict(list)
    since = {row["account_id"]: _told_since(row) for row in rows}
    for row in await stored.told(connection, since):
        told[row.pop("account_id")].append(ToldNotice(**row))
    asked = {
        (account, kind): PersonAsked(opened_at, is_open, is_called_back)
        for account, kind, opened_at, is_open, is_called_back in await stored.persons_asked(
            connection, accounts
        )
    }
    return [
        AccountToTell(
            **_own(row, telling.authority),
            contacts=contacts[row["account_id"]],
            told=told[row["account_id"]],
            asked=asked.get((row["account_id"], "notice")),
            visited=asked.get((row["account_id"], "visit")),
        )
        for row in rows
    ]


def _steps(account: AccountToTell, telling: Telling, now: datetime) -> list[Step]:
    policy = telling.authority.policy_for(account.profile)
    steps = due(account, policy, telling.terms, now)
    # Without any channel nobody is told but by who goes there.
    return [it for it in steps if telling.channels or isinstance(it, SendPerson | CallBack)]


async def _go_there(
    connection: AsyncConnection[Any],
    telling: Telling,
    accounts: Sequence[AccountToTell],
    now: datetime,
) -> None:
    """Send persons, and call them back: many by as many statements as one."""
    papers, called_back = [], {}
    for account in accounts:
        for step in _steps(account, telling, now):
            if isinstance(step, SendPerson):
                papers.append(_notice(account, step.occasion, telling))
            elif isinstance(step, CallBack):
                called_back[account.account_id] = step.why
    if called_back:
        for number in await stored.call_back(connection, called_back, now):
            log.info("nobody has to go there any more", job=number)
    if papers:
        due_at = now + PERSON_WITHIN
        for number, _ in await stored.open_visits(connection, papers, now=now, due_at=due_at):
            log.info("somebody has to go there with a written notice", job=number)


async def _make(
    connection: AsyncConnection[Any], telling: Telling, account: AccountToTell, now: datetime
) -> int:
    made = 0
    for step in _steps(account, telling, now):
        if isinstance(step, AskPerson):
            cause = f"{step.occasion.kind} notice reached nobody"
            await stored.ask_person(
                connection, account.account_id, cause, now=now, due_at=now + PERSON_WITHIN
            )
            log.warning("notice reached nobody", account=account.account, kind=step.occasion.kind)
        if not isinstance(step, Due):
            continue
        notice = await stored.add_notice(
            connection, _notice(account, step.occasion, telling, step.contact), now
        )
        if notice is not None:
            log.info(
                "notice made",
                notice=notice,
                account=account.account,
                kind=step.occasion.kind,
                channel=step.contact.channel,
            )
            made += 1
    return made


def _notice(
    account: AccountToTell, occasion: Occasion, telling: Telling, contact: Contact | None = None
) -> NewNotice:
    """Without a contact somebody brings it, in the language in which the customer is told first,
    reached so or not."""
    first = contact or next(iter(account.contacts), None)
    language = first.language if first else LANGUAGE
    return NewNotice(
        account_id=account.account_id,
        contact_id=contact.id if contact else None,
        episode_id=account.episode_id,
        kind=occasion.kind,
        occasion=occasion.key,
        channel=contact.channel if contact else VISIT,
        language=language,
        text=_text(account, occasion, language, telling),
        amount_fen=account.missing_fen,
        deadline_at=occasion.deadline_at,
        planned_at=occasion.planned_at,
    )


def _text(account: AccountToTell, occasion: Occasion, language: str, telling: Telling) -> str:
    texts, words = telling.texts[language], telling.words[language]
    return notice_text(account, occasion, texts, words, telling.authority.zone)


def _contact(row: dict[str, Any], channels: Collection[str], now: datetime) -> Contact:
    bounced_at = row.pop("bounced_at")
    is_reachable = bounced_at is None or now - bounced_at > BOUNCE_LASTS
    return Contact(**row, is_usable=is_reachable and row["channel"] in channels)


def _told_since(row: Mapping[str, Any]) -> datetime:
    """The present episode counts, and what came after the last payment."""
    moments = [row["episode_started_at"], row["last_payment_at"]]
    return min((it for it in moments if it is not None), default=LONG_AGO)


def _own(row: dict[str, Any], authority: Authority) -> dict[str, Any]:
    """What the account itself is, with how long its balance lasts."""
    charged_fen: int = row.pop("charged_fen")
    since: date | None = row.pop("charged_since")
    average = usual_day_fen(charged_fen, since, row.pop("charged_through"))
    trip_fen = row.pop("trip_fen")
    return {
        **row,
        # Paying restores nobody in shadow mode.
        "supply": "moving" if authority.shadow_mode and row["supply"] == "cut" else row["supply"],
        "reasons": [frozenset(it) for it in row["reasons"]],
        "usual_day_fen": average,
        "days_left": days_left(average, row["balance_fen"], trip_fen),
    }
