"""The rules' codes and the reasons of holds, in the words of those who mend what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

CODES: Final[Mapping[str, str]] = {
    "V03": "another meter answered",
    "V04": "not frozen at 00:00 of its day",
    "V05": "the meter's clock is wrong",
    "V06": "no number that the register can show",
    "V07": "less than the value before it",
    "V08": "more than the limit allows",
    "V09": "the register stands still",
    "V10": "unchanged for 30 days",
    "V11": "the rates do not add up to the total",
    "V12": "one rate takes all",
    "V14": "unusual use",
    "V15": "unusual use for the season",
    "V25": "the meter may be another's",
    "V26": "the month-end freeze does not fit",
    "V27": "more than the value behind it",
    "V28": "the meter is set otherwise than the archive",
    "V29": "stamped like another day's value",
    "V31": "outvoted by the values behind it",
    "V32": "the first value, not confirmed yet",
    "V33": "a later value says otherwise",
    "V34": "another value was read for the day",
    "V35": "contradicts what a person confirmed",
    "V36": "the values behind it fit one another, not the ones before",
    "V37": "from a source that is new",
    "V38": "withdrawn by a person",
}
HOLDS: Final[Mapping[str, str]] = {
    "span": "too many days without a value to be billed without a person",
    "ratio": "the ratio changed inside, and no register was written down",
    "spike": "it is more than the limit allows in that time",
    "final_lost": "the last register of the old meter is lost",
    "initial_lost": "the first register of the meter is not known",
    "backward": "two confirmed values contradict one another",
}

NOT_SHOWN: Final = frozenset({"final_lost", "initial_lost", "backward"})
"""Holds of use that no register shows: what is owed for it can only be agreed upon (S6)."""


def code_of(text: str) -> str:
    """The code alone of what may be stored with its name, such as `V08 spike`."""
    return text.split(" ", 1)[0]


def in_words(codes: Iterable[str]) -> str:
    """The codes with what each means, such as `V08 more than the limit allows`."""
    return "; ".join(_with_words(code_of(code)) for code in codes)


def _with_words(code: str) -> str:
    return f"{code} {CODES[code]}" if code in CODES else code
