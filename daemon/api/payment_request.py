"""A payment as a request tells it, and what became of it as an answer tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from daemon.api.bad_request import BadRequest, is_number
from daemon.billing.posting import MOST_PAYMENT_FEN
from daemon.transactions.payment import Payment, TopUp
from protocols.errors import MeterdError

MOST_LETTERS: Final = 500


class UnknownAccount(MeterdError):
    """A payment to an account that is not there. Who takes it in acts: nothing was posted."""

    def __init__(self, account: str) -> None:
        super().__init__(f"no account {account}; nothing was posted")


def payment_request(request: Mapping[str, Any]) -> Payment:
    """What is to be posted. BadRequest, UnfitPaymentKey."""
    fen = request.get("amount_fen")
    if not is_number(fen) or not isinstance(fen, int) or not 0 < fen <= MOST_PAYMENT_FEN:
        raise BadRequest(f"amount_fen must be a whole number from 1 to {MOST_PAYMENT_FEN}")
    return Payment(
        account=_words(request, "account"),
        amount_fen=fen,
        channel=_words(request, "channel"),
        reference=_words(request, "reference"),
        actor=_words(request, "actor"),
        by_way_of=_words(request, "by_way_of"),
    )


def _words(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MOST_LETTERS:
        raise BadRequest(f"{name} must be 1 to {MOST_LETTERS} characters")
    return value


def as_told(done: TopUp) -> dict[str, Any]:
    """outcome, balance_fen, credit_state, missing_fen, the numbers of the reconnects and whether
    the customer closes at the meter's button, whom it is for."""
    return {
        "outcome": done.outcome.name.lower(),
        "balance_fen": done.balance_fen,
        "credit_state": done.credit_state,
        "missing_fen": done.missing_fen,
        "reconnects": [str(command) for command in done.commands],
        "at_button": done.at_button,
        "name": done.payee.name,
        "address": done.payee.address,
        "points": done.payee.points,
    }
