"""What is due is made and sent: run by a tick, so that a restart goes on where it was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from daemon import metrics
from daemon.runtime.supervision import together
from daemon.sending.channels import NotTaken, Send, ToSend
from daemon.transactions.notices import (
    PAUSES,
    Telling,
    make_notices,
    not_sent,
    release_notice,
)
from storage import notices, staff_alarms, supply
from storage.database import LONG_USE_S, Pool
from storage.notices import NoticeToSend
from storage.staff_alarms import StaffCall

log = structlog.get_logger("notices")

SENT_AT_ONCE: Final = 8
"""One channel that hangs keeps the others waiting no longer than its timeout."""
MOST_A_TICK: Final = 400
OUTCOMES: Final = ("sent", "not_taken", "failed", "delivered", "bounced")
"""Of a notice and of its receipts."""
GRACE_S: Final = 5.0
"""For a channel to give up by its own timeout, before it is left alone."""


@dataclass(slots=True)
class Outbox:
    """Notices on their way. `send`, `timeouts_s`: of the channels by name.

    `succeeded_at`: when the last look was done to its end."""

    pool: Pool
    telling: Telling
    send: Mapping[str, Send]
    timeouts_s: Mapping[str, float]
    succeeded_at: datetime | None = None
    waiting: int = 0
    oldest_at: datetime | None = None

    def change(
        self, telling: Telling, send: Mapping[str, Send], timeouts_s: Mapping[str, float]
    ) -> None:
        """From now on over these channels; what is being sent goes on over the former."""
        self.telling = telling
        self.send = send
        self.timeouts_s = timeouts_s
        metrics.born(metrics.NOTICES, send, OUTCOMES)
        metrics.born(metrics.NOTICES_WAITING, send)
        metrics.born(metrics.NOTICES_AGE, send)

    async def look(self) -> None:
        """Make what is due of those who are short of money, cut or ready, and send.

        Without a channel somebody goes there all the same, where the site asks for that."""
        goes_there = self.telling.terms.personal_contact
        async with self.pool.connection(lasts_s=LONG_USE_S) as connection:
            if self.send or goes_there:
                accounts = await notices.accounts_to_look_at(connection)
            else:
                accounts = await notices.accounts_visited(connection)
            await make_notices(
                connection, self.telling, accounts, await supply.database_clock(connection)
            )
        if not self.send:
            return
        await self.send_due()
        self.succeeded_at = datetime.now(UTC)
        metrics.NOTICES_SUCCESS.set(self.succeeded_at.timestamp())
        await self._show()

    async def look_ahead(self) -> None:
        """Make warnings of balances that are good and will not last."""
        if not self.send:
            return
        async with self.pool.connection(lasts_s=LONG_USE_S) as connection:
            accounts = await notices.accounts_that_are_good(connection)
            await make_notices(
                connection, self.telling, accounts, await supply.database_clock(connection)
            )

    async def send_due(self) -> None:
        """Send what is due, some at a time."""
        async with self.pool.connection() as connection:
            due = await notices.due_to_send(
                connection, await supply.database_clock(connection), MOST_A_TICK
            )
        for start in range(0, len(due), SENT_AT_ONCE):
            await together(self._send(*it) for it in due[start : start + SENT_AT_ONCE])

    async def send_calls(self) -> None:
        """Tell who is on call what was made for them, at any hour."""
        if not self.send:
            return
        async with self.pool.connection() as connection:
            now = await supply.database_clock(connection)
            due = await staff_alarms.release_calls(connection, now, PAUSES, MOST_A_TICK)
        for start in range(0, len(due), SENT_AT_ONCE):
            await together(map(self._send_call, due[start : start + SENT_AT_ONCE]))

    def condition(self) -> dict[str, Any]:
        """What /healthz shows of it."""
        return {
            "waiting": self.waiting,
            "oldest_s": round(self._oldest_s()),
            "last_success": None if self.succeeded_at is None else self.succeeded_at.isoformat(),
        }

    def _oldest_s(self) -> float:
        if self.oldest_at is None:
            return 0.0
        return (datetime.now(UTC) - self.oldest_at).total_seconds()

    async def _send(self, notice: int, account: int) -> None:
        async with self.pool.connection() as connection:
            to_send = await release_notice(
                connection,
                self.telling,
                notice,
                account,
                await supply.database_clock(connection),
            )
        if to_send is None:
            return
        error = await self._error_of(to_send)
        async with self.pool.connection() as connection:
            if error is None:
                await notices.mark_sent(connection, notice, await supply.database_clock(connection))
                self._count(to_send, "sent")
            else:
                await self._note(connection, to_send, error)

    async def _send_call(self, call: StaffCall) -> None:
        error = await self._error_of(call)
        is_given_up = error is not None and (error.is_final or call.tries > len(PAUSES))
        async with self.pool.connection() as connection:
            if error is None:
                now = await supply.database_clock(connection)
                await staff_alarms.mark_sent(connection, call.id, now)
            elif is_given_up:
                now = await supply.database_clock(connection)
                await staff_alarms.give_up(connection, call.id, str(error), now)
            else:
                await staff_alarms.note_error(connection, call.id, str(error))
        outcome = "sent" if error is None else "failed" if is_given_up else "not_taken"
        metrics.NOTICES.labels(call.channel, outcome).inc()
        log.log(
            logging.INFO if error is None else logging.ERROR,
            f"call {outcome.replace('_', ' ')}",
            call=call.id,
            name=call.name,
            channel=call.channel,
        )

    async def _error_of(self, notice: ToSend) -> NotTaken | None:
        send = self.send.get(notice.channel)
        if send is None:
            return NotTaken("the channel is not configured any more", is_final=True)
        try:
            async with asyncio.timeout(self.timeouts_s[notice.channel] + GRACE_S):
                await send(notice)
        except NotTaken as error:
            return error
        except TimeoutError:
            return NotTaken("the channel did not answer in time")
        return None

    async def _note(self, connection: Any, notice: NoticeToSend, error: NotTaken) -> None:
        is_given_up = await not_sent(
            connection,
            notice,
            str(error),
            await supply.database_clock(connection),
            is_final=error.is_final,
        )
        self._count(notice, "failed" if is_given_up else "not_taken")

    def _count(self, notice: NoticeToSend, outcome: str) -> None:
        metrics.NOTICES.labels(notice.channel, outcome).inc()
        log.info(
            f"notice {outcome.replace('_', ' ')}",
            notice=notice.notice_id,
            account=notice.account,
            channel=notice.channel,
        )

    async def _show(self) -> None:
        async with self.pool.connection() as connection:
            found = await notices.waiting(connection)
        now = datetime.now(UTC)
        counts = dict.fromkeys(self.send, 0) | {channel: count for channel, count, _ in found}
        ages = {channel: (now - at).total_seconds() for channel, _, at in found}
        for channel, count in counts.items():
            metrics.NOTICES_WAITING.labels(channel).set(count)
            metrics.NOTICES_AGE.labels(channel).set(ages.get(channel, 0))
        self.waiting = sum(counts.values())
        self.oldest_at = min((at for _, _, at in found), default=None)
