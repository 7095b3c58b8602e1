"""A payment as a request tells it, and what became of it as an answer tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.api.bad_request import BadRequest, is_number
from daemon.transactions.payment import Payment, TopUp
from protocols.errors import MeterdError


class UnknownAccount(MeterdError):
    """A payment to an account that is not there. Who takes it in acts: nothing was posted."""

    def __init__(self, account: str) -> None:
        super().__init__(f"no account {account}; nothing was posted")


def payment_request(request: Mapping[str, Any]) -> Payment:
    """What is to be posted. BadRequest, UnfitPaymentKey."""
    fen = request.get("amount_fen")
    if not is_number(fen) or not isinstance(fen, int) or fen <= 0:
        raise BadRequest("amount_fen must be a whole number above 0")
    return Payment(
        account=_words(request, "account"),
        amount_fen=fen,
        channel=_words(request, "channel"),
        reference=_words(request, "reference"),
        actor=_words(request, "actor"),
    )


def _words(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{name} must be words")
    return value


def as_told(done: TopUp) -> dict[str, Any]:
    """outcome, balance_fen, credit_state, missing_fen and the numbers of the reconnects."""
    return {
        "outcome": done.outcome.name.lower(),
        "balance_fen": done.balance_fen,
        "credit_state": done.credit_state,
        "missing_fen": done.missing_fen,
        "reconnects": [str(command) for command in done.commands],
    }
