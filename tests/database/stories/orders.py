"""In which other orders the events of a story, or of a golden case, may come, and which of them at
once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

Event = dict[str, Any]
READINGS = ("read", "reading")
PAYMENTS = ("pay", "pay_back", "topup", "reverse_topup")
BY_THEMSELVES = ("close_days", "day_close", "settle")
OF_ALL_POINTS = ("release_spans", "close")
"""What these say counts for what is there."""


def in_another_order(events: Sequence[Event], chance: Random) -> list[Event]:
    """Readings, payments and closed days come later, as far as they may; what people say stays in
    its order."""
    places = []
    for number, event in enumerate(events):
        end = number
        if event["type"] in (*READINGS, *PAYMENTS, *BY_THEMSELVES):
            behind = range(number + 1, len(events))
            end = next((it for it in behind if stops(events[it], event)), len(events))
        places.append(chance.uniform(number, end))
    return [events[it] for it in sorted(range(len(events)), key=places.__getitem__)]


def stops(later: Event, event: Event) -> bool:
    """Whether a reading, a payment or a closed day may not come behind this one."""
    if event["type"] in PAYMENTS:
        return later["type"] in PAYMENTS and bool(later["key"] == event["key"])
    if later["type"] in OF_ALL_POINTS:
        return True
    is_of_point = event["type"] in READINGS and later.get("point") == event.get("point")
    return is_of_point and later["type"] not in READINGS


def at_once(events: Sequence[Event]) -> Iterator[list[Event]]:
    """The events in portions of which each may come in any order, also at the same time."""
    portion: list[Event] = []
    for event in events:
        if any(excludes(event, other) for other in portion):
            yield portion
            portion = []
        portion.append(event)
    yield portion


def excludes(one: Event, other: Event) -> bool:
    kinds = {one["type"], other["type"]}
    if kinds & {*OF_ALL_POINTS}:
        return True
    free = {*READINGS, *PAYMENTS, *BY_THEMSELVES}
    if kinds & {*PAYMENTS}:
        return one.get("key") == other.get("key")
    is_same_point = "point" in one and one["point"] == other.get("point")
    return not kinds & free or (is_same_point and not kinds <= {*READINGS})
