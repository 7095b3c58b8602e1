"""The causes that a diagnosis knows, and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Cause(Enum):
    """What is wrong with a line, as it is written in JSON."""

    NOTHING = "nothing"
    UNKNOWN = "unknown"
    DEAD_BUS = "dead_bus"
    WRONG_SPEED = "wrong_speed"
    WRONG_PARITY = "wrong_parity"
    WRONG_DATA_BITS = "wrong_data_bits"
    SWAPPED_WIRES = "swapped_wires"
    TWO_MASTERS = "two_masters"
    ECHO = "echo"
    DUPLICATE_ADDRESS = "duplicate_address"
    SEVERAL_METERS = "several_meters"
    WRONG_CLOCK = "wrong_clock"
    HOST_CLOCK = "host_clock"
    MERGED_ANSWERS = "merged_answers"
    REPEATED_ANSWERS = "repeated_answers"
    WRONG_PROTOCOL = "wrong_protocol"
    WRONG_ADDRESS = "wrong_address"
    OTHER_METER_ANSWERS = "other_meter_answers"
    NOISE = "noise"
    CUT_ANSWERS = "cut_answers"
    TORN_ANSWERS = "torn_answers"
    SLOW_ANSWERS = "slow_answers"
    LOST_ANSWERS = "lost_answers"
    DEAD_METER = "dead_meter"
    REFUSALS = "refusals"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One cause. `confidence`: in per cent; `because`: what was heard; `next_step`: what to do,
    with the command where there is one; `meters`: those that it is about, if not all."""

    cause: Cause
    confidence: int
    because: str
    next_step: str
    meters: tuple[str, ...] = ()


TITLES: Final[Mapping[Cause, str]] = {
    Cause.NOTHING: "nothing is wrong",
    Cause.UNKNOWN: "unknown",
    Cause.DEAD_BUS: "the bus is dead",
    Cause.WRONG_SPEED: "wrong speed",
    Cause.WRONG_PARITY: "wrong parity",
    Cause.WRONG_DATA_BITS: "wrong data bits",
    Cause.SWAPPED_WIRES: "swapped wires",
    Cause.TWO_MASTERS: "two masters",
    Cause.ECHO: "echo",
    Cause.DUPLICATE_ADDRESS: "one address twice",
    Cause.SEVERAL_METERS: "several meters",
    Cause.WRONG_CLOCK: "wrong clock of a meter",
    Cause.HOST_CLOCK: "wrong clock of this machine",
    Cause.MERGED_ANSWERS: "answers held back and merged",
    Cause.REPEATED_ANSWERS: "answers come twice",
    Cause.WRONG_PROTOCOL: "wrong protocol",
    Cause.WRONG_ADDRESS: "wrong address",
    Cause.OTHER_METER_ANSWERS: "another meter answers",
    Cause.NOISE: "noise",
    Cause.CUT_ANSWERS: "half answers",
    Cause.TORN_ANSWERS: "answers with gaps",
    Cause.SLOW_ANSWERS: "slow answers",
    Cause.LOST_ANSWERS: "answers are lost",
    Cause.DEAD_METER: "a dead meter",
    Cause.REFUSALS: "a meter refuses",
}
"""What a person calls it."""
