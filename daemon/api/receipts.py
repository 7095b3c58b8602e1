"""Receipts that a channel posts: signed with its key, each tells what became of a notice, or of a
call to the staff."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from config.secret import Secret
from daemon import metrics
from daemon.sending.signature import SIGNATURE, TIMESTAMP, is_signed
from daemon.transactions.notices import take_receipt
from daemon.transactions.staff_alarms import take_call_receipt
from storage import supply
from storage.database import Pool

MOST_BYTES: Final = 256 * 1024
"""Of what is posted: a thousand receipts have less."""
UNAUTHORIZED: Final = 401
BAD_REQUEST: Final = 400
OK: Final = 200


class Receipt(msgspec.Struct, frozen=True):
    """What became of a notice. `bounced`: nothing can be delivered there any more."""

    notice: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    state: Literal["delivered", "failed", "bounced"]
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    receipt: Annotated[str, msgspec.Meta(max_length=200)] = ""


class CallReceipt(msgspec.Struct, frozen=True):
    """What became of a call. `acknowledged`: who was called has what it told; `failed`: it did not
    reach him."""

    call: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    state: Literal["acknowledged", "failed"]


class Posted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Receipts of one channel."""

    channel: str
    receipts: Annotated[list[Receipt], msgspec.Meta(max_length=1000)] = []
    calls: Annotated[list[CallReceipt], msgspec.Meta(max_length=1000)] = []


@dataclass(slots=True)
class Receipts:
    """Where receipts are taken in. `keys`: of the channels that have one."""

    pool: Pool
    keys: Mapping[str, Secret]

    async def take_in(self, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        """(HTTP status, answer). Each may come again: it changes nothing then."""
        now = datetime.now(UTC)
        try:
            posted = msgspec.json.decode(body, type=Posted)
        except msgspec.DecodeError as error:
            return BAD_REQUEST, {"error": str(error)}
        key = self.keys.get(posted.channel)
        timestamp, told = headers.get(TIMESTAMP, ""), headers.get(SIGNATURE, "")
        if key is None or not is_signed(key.reveal(), timestamp, told, body, now.timestamp()):
            return UNAUTHORIZED, {"error": f"{SIGNATURE} is not that of this channel, or old"}
        taken = 0
        for it in posted.receipts:
            async with self.pool.connection() as connection:
                is_new = await take_receipt(
                    connection,
                    channel=posted.channel,
                    notice=it.notice,
                    state=it.state,
                    at=min(it.at, await supply.database_clock(connection)),
                    receipt=it.receipt,
                    actor=f"channel {posted.channel}",
                )
            taken += is_new
            if is_new:
                metrics.NOTICES.labels(posted.channel, it.state).inc()
        to_assign = []
        for call in posted.calls:
            async with self.pool.connection() as connection:
                became = await take_call_receipt(
                    connection, channel=posted.channel, call=call.call, state=call.state
                )
            taken += became == "taken"
            if became == "to_assign":
                to_assign.append(call.call)
        known = len(posted.receipts) + len(posted.calls) - taken - len(to_assign)
        return OK, {"taken": taken, "known": known, "to_assign": to_assign}
