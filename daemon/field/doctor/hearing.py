"""What the bytes that came to a question are: answers, other people's frames, damage, noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from daemon.field.doctor.evidence import CODECS, MODBUS_RTU, Heard, Piece, Step
from daemon.field.language import DLT645_1997, DLT645_2007
from protocols.dlt645 import functions
from protocols.dlt645.frame import END, FE, START, Frame, raw, subtract_33
from protocols.exchange import Skipped

BYTE_GAP_S: Final = 0.5
"""Within an answer no two bytes are further apart (DL/T 645-2007)."""
DLT645: Final = (DLT645_2007, DLT645_1997)
ADDRESS_TAIL: Final = 8
"""Address, checksum and end of the answer to read address."""
WHOLE_ADDRESS_ANSWER: Final = 18
HEAD_BYTES: Final = 10
"""Of a DL/T 645 frame, up to L: what a question foretells of its answer."""
GATEWAY_EXCEPTIONS: Final = (0x0A, 0x0B)
"""Gateway path unavailable, target device failed to respond (Modbus application protocol)."""
MODBUS_REASONS: Final = range(1, 12)
"""Of exceptions."""
CRC_BYTES: Final = 2
SHORTEST_MODBUS_ANSWER: Final = 5
"""A refusal: unit, function, reason and CRC."""
SEVEN_BITS: Final = 0x7F
ANSWER: Final = 0x80


@dataclass(slots=True)
class Hearing:
    """What came to one step.

    `answers`: good ones to its question, with the time of their last byte; `late`: answers to
    earlier questions, with the time since those. `misaddressed`: what would be the answer if it
    came from the meter that was asked. `requests`, `others`: another master's questions, and
    answers that nobody here asked for. `twins`, `repeated`: the question before, when it had its
    answer and now has another one, or the same once more. `damaged`: beginnings of frames whose
    rest is wrong. `is_cut`: it is a part of the answer, without its first or its last bytes.
    `longest_gap_s`: between two bytes of one answer."""

    step: Step
    data: bytes = b""
    is_echoed: bool = False
    answers: list[tuple[float, Any]] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    misaddressed: list[Any] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)
    twins: list[Step] = field(default_factory=list)
    repeated: list[Step] = field(default_factory=list)
    damaged: bytes = b""
    noise: bytes = b""
    is_cut: bool = False
    is_inverted: bool = False
    longest_gap_s: float = 0.0
    is_refused_by_gateway: bool = False
    """A Modbus gateway says that the meter behind it does not answer."""
    has_merged: bool = False
    """An earlier answer came together with this one's."""

    @property
    def is_silent(self) -> bool:
        """Nothing came but an echo."""
        return not self.data.strip(FE)

    @property
    def is_good(self) -> bool:
        """The question has its answer."""
        return bool(self.answers)

    @property
    def is_clean(self) -> bool:
        """It has it, and nothing else came."""
        return len(self.answers) == 1 and not (self.damaged or self.noise)


class Listener:
    """Understands what comes, step by step: a late answer belongs to a question before."""

    def __init__(self) -> None:
        self.hearings: list[Hearing] = []
        self._unanswered: list[_Unanswered] = []
        self._answered: tuple[Step, Any] | None = None
        """The question before, and the answer that it had."""
        self._started_s = 0.0

    def take(self, heard: Heard) -> Hearing:
        """What came to this step."""
        step = heard.step
        self._started_s = heard.started_s
        hearing = Hearing(step)
        pieces = list(_without_echo(heard.pieces, step.sent, hearing))
        hearing.data = b"".join(piece.data for piece in pieces)
        self._sort(pieces, hearing)
        if not hearing.answers and hearing.data:
            hearing.is_inverted = _answers_inverted(step, hearing.data)
            hearing.is_cut = _is_cut(step, hearing.data)
        self.hearings.append(hearing)
        if step.request is not None and not hearing.answers:
            self._unanswered.append(_Unanswered(step, heard.started_s, hearing.is_silent))
        self._answered = (step, hearing.answers[0][1]) if hearing.answers else None
        return hearing

    def _sort(self, pieces: Sequence[Piece], hearing: Hearing) -> None:
        step = hearing.step
        decoder = CODECS[step.protocol].new_decoder()
        before_s = None
        for piece in pieces:
            if before_s is not None and decoder.pending:
                hearing.longest_gap_s = max(hearing.longest_gap_s, piece.at_s - before_s)
            before_s = piece.at_s
            found = decoder.feed(piece.data)
            late_before = len(hearing.late)
            answers_before = len(hearing.answers)
            for item in found:
                self._sort_one(item, piece.at_s, hearing)
            is_late = len(hearing.late) > late_before
            if is_late and len(hearing.answers) > answers_before:
                hearing.has_merged = True
        for item in decoder.flush():
            self._sort_one(item, before_s or 0.0, hearing)

    def _sort_one(self, item: Any, at_s: float, hearing: Hearing) -> None:
        step = hearing.step
        if isinstance(item, Skipped):
            if item.reason == "noise":
                hearing.noise += item.data
            else:
                hearing.damaged += item.data
        elif item == step.request:
            hearing.is_echoed = True
        elif step.request is not None and CODECS[step.protocol].is_answer(step.request, item):
            self._sort_answer(item, at_s, hearing)
        else:
            self._sort_other(item, at_s, hearing)

    def _sort_answer(self, item: Any, at_s: float, hearing: Hearing) -> None:
        step = hearing.step
        if _is_from_gateway(step.protocol, item):
            hearing.is_refused_by_gateway = True
        elif hearing.answers and (asked_s := self._earlier(step, item, again=True)) is not None:
            # The same was asked before, in vain: one answer each.
            hearing.late.append(self._started_s + at_s - asked_s)
        else:
            hearing.answers.append((at_s, item))

    def _sort_other(self, item: Any, at_s: float, hearing: Hearing) -> None:
        """What does not answer this question."""
        step = hearing.step
        if (earlier := self._earlier(step, item)) is not None:
            hearing.late.append(self._started_s + at_s - earlier)
        elif (answered := self._answered_before(step, item)) is not None:
            asked, answer = answered
            (hearing.repeated if item == answer else hearing.twins).append(asked)
        elif _is_request(step.protocol, item):
            hearing.requests.append(item)
        elif step.request is not None and _would_be_answer(step, item):
            hearing.misaddressed.append(item)
        else:
            hearing.others.append(item)

    def _earlier(self, step: Step, frame: Any, *, again: bool = False) -> float | None:
        """When the question was asked that the frame answers; it is answered with that.

        `again`: only the same question counts, and only where nothing came to it."""
        for earlier in reversed(self._unanswered):
            asked = earlier.step
            if asked.protocol != step.protocol or asked.speed != step.speed:
                continue
            if again and not (earlier.is_silent and asked.request == step.request):
                continue
            if CODECS[asked.protocol].is_answer(asked.request, frame):
                self._unanswered.remove(earlier)
                return earlier.asked_s
        return None

    def _answered_before(self, step: Step, frame: Any) -> tuple[Step, Any] | None:
        """The question before and its answer, where this is an answer to it too."""
        if self._answered is None:
            return None
        asked, _ = self._answered
        is_of_it = asked.protocol == step.protocol and CODECS[asked.protocol].is_answer(
            asked.request, frame
        )
        return self._answered if is_of_it else None


class _Unanswered(NamedTuple):
    step: Step
    asked_s: float
    is_silent: bool


def understood(evidence: Sequence[Heard]) -> list[Hearing]:
    """What came to each step."""
    listener = Listener()
    return [listener.take(heard) for heard in evidence]


def is_complete(step: Step, data: bytes) -> bool:
    """True when nothing but one whole answer came, so that hardly more will."""
    if step.request is None:
        return False
    codec = CODECS[step.protocol]
    found = codec.new_decoder().feed(data.removeprefix(step.sent))
    return any(
        not isinstance(item, Skipped) and codec.is_answer(step.request, item) for item in found
    )


def _without_echo(pieces: Sequence[Piece], sent: bytes, hearing: Hearing) -> Iterator[Piece]:
    """What comes behind the echo of a question, where an adapter echoes it."""
    data = b"".join(piece.data for piece in pieces)
    # Some adapters swallow the wake-up.
    echoes = (sent, sent.lstrip(FE)) if hearing.step.protocol in DLT645 else (sent,)
    echo = next((echo for echo in echoes if echo and data.startswith(echo)), b"")
    hearing.is_echoed = bool(echo)
    left = len(echo)
    for piece in pieces:
        rest = piece.data[left:]
        left = max(0, left - len(piece.data))
        if rest:
            yield Piece(piece.at_s, rest)


def _is_request(protocol: str, frame: Any) -> bool:
    return not frame.is_response if protocol in DLT645 else bool(frame.is_request)


def _is_from_gateway(protocol: str, frame: Any) -> bool:
    return protocol not in DLT645 and frame.exception in GATEWAY_EXCEPTIONS


def _would_be_answer(step: Step, frame: Any) -> bool:
    """True for the answer to this very question, from somebody else."""
    codec = CODECS[step.protocol]
    if step.protocol in DLT645:
        return codec.is_answer(step.request, frame._replace(address=step.request.address))
    moved = type(frame)(step.request.unit, frame.pdu, frame.is_request, frame.transaction)
    return codec.is_answer(step.request, moved)


def _answers_inverted(step: Step, data: bytes) -> bool:
    """True when the bytes are an answer once every bit of them is turned round."""
    if step.request is None:
        return False
    codec = CODECS[step.protocol]
    decoder = codec.new_decoder()
    turned = bytes(byte ^ 0xFF for byte in data)
    return any(
        not isinstance(item, Skipped) and codec.is_answer(step.request, item)
        for item in decoder.feed(turned) + decoder.flush()
    )


def has_seven_bits(data: bytes) -> bool:
    """True when no byte has its highest bit set."""
    return max(data, default=0) <= SEVEN_BITS


def _is_cut(step: Step, data: bytes) -> bool:
    """True for a piece of an answer to this question: its beginning or its end is missing."""
    if step.request is None:
        return False
    if step.protocol in DLT645:
        return _is_cut_dlt645(step, data.lstrip(FE))
    return _is_cut_modbus(step, data)


def _is_cut_dlt645(step: Step, data: bytes) -> bool:
    """The head up to C is foretold by the question: what is missing of it can be put back."""
    request = step.request
    if request.function == functions.READ_ADDRESS:
        return _is_cut_address(data)
    address = bytes.fromhex(request.address)[::-1]
    head = bytes((START, *address, START, request.control | ANSWER))
    is_to_anybody = "A" in request.address
    if data and (head.startswith(data[: len(head)]) or (is_to_anybody and data[0] == START)):
        # It begins as the answer does. L tells whether it is all there.
        return len(data) < HEAD_BYTES or len(data) < data[HEAD_BYTES - 1] + HEAD_BYTES + 2
    if any(_is_answered(step, head[:missing] + data) for missing in range(1, len(head) + 1)):
        return True
    # What is left of the data and the end of a frame.
    is_short = len(data) <= _longest_rest(step)
    return is_short and data[-1:] == bytes((END,)) and START not in data


def _is_cut_address(data: bytes) -> bool:
    """True for a part of the answer to read address, which says the address in its data again."""
    if data[-1:] != bytes((END,)):
        return data[:1] == bytes((START,)) and len(data) < WHOLE_ADDRESS_ANSWER
    if len(data) < ADDRESS_TAIL:
        return True
    address = subtract_33(data[-ADDRESS_TAIL:-2])
    whole = raw(Frame(address[::-1].hex().upper(), functions.READ_ADDRESS | ANSWER, address))
    return whole.endswith(data) and whole != data


def _longest_rest(step: Step) -> int:
    """Bytes of an answer behind its head."""
    return len(step.request.data) + HEAD_BYTES


def _is_cut_modbus(step: Step, data: bytes) -> bool:
    """The head is foretold by the question, and so is a refusal but for its reason and CRC."""
    request = step.request
    if step.protocol != MODBUS_RTU:
        return False
    if len(data) < SHORTEST_MODBUS_ANSWER:
        return True
    function = request.pdu[0]
    count = int.from_bytes(request.pdu[3:5], "big")
    heads = (
        bytes((request.unit, function, 2 * count)),
        *(bytes((request.unit, function | ANSWER, reason)) for reason in MODBUS_REASONS),
    )
    for head in heads:
        whole = len(head) + CRC_BYTES + (0 if head[1] & ANSWER else head[2])
        if len(data) < whole and (data.startswith(head) or head.startswith(data)):
            return True
        if any(_is_answered(step, head[:missing] + data) for missing in range(1, len(head) + 1)):
            return True
    return False


def _is_answered(step: Step, data: bytes) -> bool:
    codec = CODECS[step.protocol]
    decoder = codec.new_decoder()
    return any(
        not isinstance(item, Skipped) and codec.is_answer(step.request, item)
        for item in decoder.feed(data) + decoder.flush()
    )


def frames_of_anybody(data: bytes) -> list[Any]:
    """Good frames in bytes that nobody asked for, of whichever protocol finds one first."""
    for protocol in (DLT645_2007, MODBUS_RTU):
        decoder = CODECS[protocol].new_decoder()
        found = decoder.feed(data) + decoder.flush()
        frames = [item for item in found if not isinstance(item, Skipped)]
        if frames:
            return frames
    return []
