"""Callers that dispute a terminal: what is remembered of them, and for how long. No I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

QUESTION_S: Final = 600.0
"""So long after a dispute it is open who speaks for the terminal."""
REST_S: Final = 60.0
"""So long after a challenge was answered no other is made: the next rivals are refused at once."""
PING_PONG_TIMES: Final = 4
"""Callers from elsewhere that replaced each other within QUESTION_S."""


@dataclass(slots=True)
class _Disputes:
    answered_at: float | None = None
    told_at: float | None = None
    """When a ping-pong was told last."""
    replaced: deque[float] = field(default_factory=lambda: deque(maxlen=PING_PONG_TIMES))
    """When callers from elsewhere took the place."""


class Rivals:
    """Of each terminal: who disputed it, and when. `now` is a monotonic second."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, _Disputes] = {}

    def answered(self, terminal: str, now: float) -> None:
        """The session that was there answered a challenge: there are two callers."""
        self._disputes(terminal).answered_at = now

    def replaced_from_elsewhere(self, terminal: str, now: float) -> bool:
        """A caller from another address took the place; True when that is a new ping-pong."""
        disputes = self._disputes(terminal)
        disputes.replaced.append(now)
        if not _is_ping_pong(disputes, now):
            return False
        is_told = disputes.told_at is not None and now - disputes.told_at < QUESTION_S
        if not is_told:
            disputes.told_at = now
        return not is_told

    def may_rest(self, terminal: str, now: float) -> bool:
        """Whether a challenge was answered so shortly before that no other is needed."""
        disputes = self._of.get(terminal)
        if disputes is None or disputes.answered_at is None:
            return False
        return now - disputes.answered_at < REST_S

    def question(self, terminal: str, now: float) -> str:
        """Why it is open who speaks for the terminal; empty when it is not."""
        disputes = self._of.get(terminal)
        if disputes is None:
            return ""
        if disputes.answered_at is not None and now - disputes.answered_at < QUESTION_S:
            return "two callers say that they are this terminal"
        if _is_ping_pong(disputes, now):
            return "callers from several addresses take this terminal's place in turns"
        return ""

    def forget(self, terminal: str) -> None:
        """It is no line any more."""
        self._of.pop(terminal, None)

    def _disputes(self, terminal: str) -> _Disputes:
        return self._of.setdefault(terminal, _Disputes())


def _is_ping_pong(disputes: _Disputes, now: float) -> bool:
    replaced = disputes.replaced
    return len(replaced) == PING_PONG_TIMES and now - replaced[0] < QUESTION_S
