"""Who speaks for a meter (A1): whose word neither causes a cut nor proves one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from protocols.peer import Peer, Proof

PROBATION: Final = timedelta(hours=24)
"""So long a far end that changed causes no trip and gets none."""


class LineSource(NamedTuple):
    """Who told the readings of a line lately.

    `proof`: of the newest one, as `Proof` numbers it; `is_new`: the first of the line is not
    PROBATION old; `has_changed`: within PROBATION it was not one and the same."""

    proof: int
    is_new: bool
    has_changed: bool


@dataclass(frozen=True, slots=True)
class FarEnd:
    """Who would get a command now. `question`: why that is open, empty when it is not."""

    peer: Peer
    question: str = ""


def is_in_question(source: LineSource) -> bool:
    """Whether what this line tells may be somebody else's word."""
    match Proof(source.proof):
        case Proof.NAMED:
            return False
        case Proof.CERTIFICATE | Proof.VOUCHED:
            return source.has_changed
        case Proof.NETWORK:
            return source.has_changed or source.is_new
        case Proof.NONE:
            return True


def is_another(far_end: FarEnd, identity: str | None) -> bool:
    """Whether it is somebody else than who told the line's newest reading.

    `identity`: of that one, None when nobody told any."""
    peer = far_end.peer
    if peer.proof is Proof.NAMED:
        return False
    if far_end.question or peer.proof is Proof.NONE:
        return True
    if identity is None:
        return peer.proof is Proof.NETWORK
    return peer.identity != identity


def has_changed(
    sources: Iterable[LineSource], identity: str | None, far_end: FarEnd | None
) -> bool:
    """SOURCE_CHANGED: whether any of an account's lines is in question, or the far end is new.

    `far_end`: who would get the command; None when nobody is asked yet."""
    is_other = far_end is not None and is_another(far_end, identity)
    return is_other or any(map(is_in_question, sources))
