"""All checks of a Modbus meter, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from daemon.field.certify.bench import Harm
from daemon.field.certify.modbus import registers, requests
from daemon.field.certify.modbus.subject import Subject
from daemon.field.certify.suite import Check, checks

READS: Final = (
    requests.answers,
    requests.one_answer,
    requests.transaction,
    requests.wrong_checksum,
    requests.other_unit,
    requests.broadcast,
    requests.in_pieces,
    requests.after_noise,
    requests.unknown_function,
    requests.unknown_register,
    requests.no_registers,
    requests.too_many_registers,
    requests.exception_form,
    requests.reply_time,
    registers.every_item,
    registers.plausible,
    registers.word_order,
    registers.whole_spans,
    registers.does_not_run_back,
    registers.relay_state,
)
SWITCHES: Final = (registers.relay_moves,)
SUITE: Final[Sequence[Check[Subject]]] = (*checks(READS), *checks(SWITCHES, Harm.SWITCHES))
