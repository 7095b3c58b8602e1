"""What a meter's answer, its relay or its silence make of a command. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from daemon.control.commands import ALARM_AFTER, Judgement, judge, look_again
from protocols.reading import RelayState

Answer = Literal["acked", "refused", "unauthorised", "unknown"]
"""To a control frame: taken, refused, refused because of our password, silence."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What becomes of a command, and what a person is told of it (None: nothing)."""

    judgement: Judgement
    alarm: str | None

    @property
    def is_final(self) -> bool:
        """The relay itself proved how the command ended (I14: never inferred)."""
        return self.judgement.state in ("verified", "failed")


def judge_observation(
    action: str,
    relay: RelayState | None,
    *,
    sends: int,
    checks: int,
    created_at: datetime,
    expires_at: datetime,
    now: datetime,
) -> Finding:
    """The finding on a command whose relay was asked for.

    `relay` is None when the meter stayed silent. I5, I6: a command that is open for longer than
    ALARM_AFTER is an alarm."""
    is_late = now - created_at > ALARM_AFTER
    # No answer is unknown, not failed: the state is read before anything is sent again.
    if relay is None:
        judgement = Judgement("unknown", None, look_again(now, checks), "meter is silent")
        return Finding(judgement, "relay cannot be read" if is_late else None)
    judgement = judge(
        action,
        relay,
        sends=sends,
        checks=checks,
        now=now,
        expires_at=expires_at,
    )
    is_open = judgement.state in ("verifying", "persisted")
    # The button may take for ever: that is the customer's time, and no fault of the relay.
    waits_for_customer = judgement.supply_state == "wait_customer_button"
    does_not_follow = is_late and is_open and not waits_for_customer
    return Finding(judgement, "relay does not follow" if does_not_follow else None)


def state_after_answer(action: str, answer: Answer, *, sends_before: int) -> str:
    """What a command becomes by the meter's answer.

    A9: a trip that is refused when it is sent again may be executed by its earlier frame: its relay
    is watched until it is past its expiry. A reconnect is never dropped: it is sent again."""
    if answer in ("acked", "unknown"):
        return answer
    if action != "trip":
        return "persisted"
    return "verifying" if sends_before else "refused"
