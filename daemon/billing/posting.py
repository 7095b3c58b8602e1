"""What is written into the ledger: the key, the kind and the legs of each transaction. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Final, Literal, NamedTuple

from protocols.errors import MeterdError

MOST_PAYMENT_FEN: Final = 100_000_000
"""A million yuan in one payment is a slip of the finger."""
LONGEST_KEY_PART: Final = 200
MUST_BE: Final = f"must be 1 to {LONGEST_KEY_PART} printable characters without a colon"
KeyPart = Literal["channel", "reference"]
REVENUES = frozenset({"energy", "tier", "fixed", "minimum", "compensation"})
ADJUSTMENT: Final = re.compile(r"adjustment:(\d{4}-\d{2}):(.+)")


class Stream(NamedTuple):
    """(an account's) rating period and component. `period` is the first day of the month."""

    period: date
    component: str

    def adjusted_in(self, period: date) -> Stream:
        """The stream on which an open month takes what this one, whose month is closed, costs
        otherwise (section 9)."""
        return Stream(period, f"adjustment:{self.period:%Y-%m}:{self.component}")

    @property
    def about(self) -> Stream:
        """Itself; of an adjustment, the stream of the closed month."""
        told = ADJUSTMENT.fullmatch(self.component)
        if told is None:
            return self
        return Stream(date.fromisoformat(f"{told[1]}-01"), told[2])


class Leg(NamedTuple):
    """One side of a transaction; the legs of each sum to zero (M2).

    `amount_fen` is positive where the account's holder gains. Charges carry their rating period
    and component."""

    account: str
    amount_fen: int
    period: date | None = None
    component: str | None = None


class UnfitPaymentKey(MeterdError):
    """Channel or reference of a payment can not be part of its key. Who takes in the payment acts.

    `part` is the one that is unfit."""

    def __init__(self, part: KeyPart, value: str) -> None:
        self.part = part
        super().__init__(f"the {part} of a payment {MUST_BE}: {value[:40]!r}")


def key_part(part: KeyPart, value: str) -> str:
    """The value without blanks around it, which nobody sees. UnfitPaymentKey."""
    stripped = value.strip()
    if not stripped.isprintable() or not 0 < len(stripped) <= LONGEST_KEY_PART or ":" in stripped:
        raise UnfitPaymentKey(part, value)
    return stripped


def payment_key(channel: str, reference: str) -> str:
    """The key of a payment: `pay:<channel>:<reference>`. UnfitPaymentKey if it would be ambiguous.

    R51: the caller names the payment, and the same name again is the same payment."""
    return f"pay:{key_part('channel', channel)}:{key_part('reference', reference)}"


def reversal_key(transaction: int) -> str:
    """The key of what takes a transaction of the ledger back: there can be only one."""
    return f"rev:{transaction}"


def payment_legs(
    prepaid: str,
    channel: str,
    amount_fen: int,
) -> tuple[Leg, ...]:
    """From the clearing account of the channel to the customer's prepaid account."""
    return Leg(prepaid, amount_fen), Leg(f"clearing:{channel}", -amount_fen)


def charge_legs(prepaid: str, moved_fen: Mapping[Stream, int]) -> tuple[Leg, ...]:
    """From the customer's prepaid account to revenue, stream by stream."""
    legs = []
    for stream in sorted(moved_fen):
        fen = moved_fen[stream]
        # Both sides carry the stream, so that a stream can be added up on either (M3).
        legs.append(Leg(prepaid, -fen, stream.period, stream.component))
        account = account_of(stream.about.component)
        legs.append(Leg(account, fen, stream.period, stream.component))
    return tuple(legs)


def account_of(component: str) -> str:
    """The account of the chart that a component of a charge is credited to.

    What is no revenue and no tax is the code of a surcharge."""
    if component in REVENUES:
        return f"revenue:{component}"
    return "payable:tax" if component == "tax" else f"payable:surcharge:{component}"
