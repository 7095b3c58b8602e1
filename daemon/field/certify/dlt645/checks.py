"""All checks of a DL/T 645-2007 meter, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from daemon.field.certify.bench import Harm
from daemon.field.certify.dlt645 import framing, freezes, orders, values
from daemon.field.certify.dlt645.subject import Subject
from daemon.field.certify.suite import Check, checks

READS: Final = (
    framing.answers,
    framing.one_answer,
    framing.wake_up,
    framing.in_pieces,
    framing.wrong_checksum,
    framing.wrong_end,
    framing.after_noise,
    framing.foreign_address,
    framing.broadcast,
    framing.wildcard,
    framing.abbreviated,
    framing.reply_time,
    framing.byte_gaps,
    values.unknown_identifier,
    values.error_word,
    values.energy,
    values.total_first,
    values.tariffs,
    values.follow_up,
    freezes.clock_form,
    freezes.clock_right,
    freezes.clock_runs,
    freezes.freeze_stamps,
    freezes.newest_first,
    freezes.freeze_registers,
    freezes.rollover,
    freezes.empty_freeze,
    orders.status_word,
)
WRITES: Final = (
    orders.wrong_password,
    orders.write_back,
    orders.clock_limits,
)
SWITCHES: Final = (
    orders.expired,
    orders.in_time,
    orders.control_password,
    orders.trip,
    orders.keep_power,
)
SUITE: Final[Sequence[Check[Subject]]] = (
    *checks(READS),
    *checks(WRITES, Harm.WRITES),
    *checks(SWITCHES, Harm.SWITCHES),
)
