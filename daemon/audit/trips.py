"""Trips that were sent, judged again."""

from __future__ import annotations

from daemon.audit.second_guard import Decision, second_opinion


def objection(guard: object, *, is_heard_before: bool = False) -> str | None:
    """Why a trip with this document behind it should not have been sent, in words; None: it should.

    It is `command_event.guard` of the moment that it was sent. `is_heard_before`: it is of an
    earlier step of the same trip, although the guard has to be heard before every send (I2)."""
    if not isinstance(guard, dict):
        return "nothing was kept of why it was sent"
    try:
        opinion = second_opinion(guard)
    except (KeyError, TypeError, ValueError) as error:
        return f"what was kept is no snapshot: {type(error).__name__} {error}"
    kept: Decision | None = guard.get("decision")
    if opinion.decision != "allow":
        return f"kept {kept}, but {opinion.decision}: {' '.join(opinion.reasons)}"
    if kept != "allow" or guard.get("reasons"):
        return f"kept {kept} {' '.join(guard.get('reasons') or ())}, and was sent"
    if is_heard_before:
        return "the guard was not heard anew before it was sent"
    return None
