"""Checks of frames and exceptions: what is answered, what is refused, and how."""

from __future__ import annotations

from statistics import median
from typing import Final

from daemon.field.certify.bench import CheckFailed, NotTested, Reply, hexed, need
from daemon.field.certify.modbus.subject import Subject, request_of
from protocols.modbus.blocks import Block
from protocols.modbus.frame import BROADCAST, Frame
from protocols.modbus.functions import MOST_REGISTERS

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
GATEWAY_EXCEPTIONS: Final = (0x0A, 0x0B)
SELDOM_KNOWN: Final = bytes((0x14, 0x07, 0x06, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01))
"""Read file record: it changes nothing, and no meter has files."""
LAST_REGISTERS: Final = 0xFFF0
HIGHEST_UNIT: Final = 247
OTHER_UNITS: Final = (1, 83, 165)
"""So far from the unit that is tested, which has not three neighbours there."""
ROUNDS: Final = 20
SLOWEST_S: Final = 1.0
"""The time-out of most masters."""
SHORT_PAUSE_S: Final = 0.05
OVER_S: Final = 0.7


async def answers(meter: Subject) -> str:
    """A read of a known register is answered by the unit that was asked."""
    answer = await meter.read(meter.block())
    need(not answer.exception, f"exception {answer.exception:02X}")
    return hexed(answer.pdu)


async def one_answer(meter: Subject) -> str:
    """One frame comes, and nothing before or behind it."""
    request = request_of(meter.unit, meter.block())
    reply = await meter.bench.ask(meter.encoded(request))
    answer = meter.only(reply, request)
    return f"{len(reply.data)} bytes, {len(answer.pdu)} of them PDU"


async def transaction(meter: Subject) -> str:
    """An answer over TCP repeats the number of its request, and protocol 0."""
    if not meter.is_tcp:
        raise NotTested("RTU has no numbers")
    for number in (0x1234, 0xFFFF):
        asked = request_of(meter.unit, meter.block())
        request = Frame(asked.unit, asked.pdu, is_request=True, transaction=number)
        reply = await meter.bench.ask(meter.encoded(request))
        meter.only(reply, request)
        told = int.from_bytes(reply.data[:2], "big")
        need(told == number, f"{number:04X} is answered with {told:04X}")
    return "1234 and FFFF are repeated"


async def wrong_checksum(meter: Subject) -> str:
    """A wrong checksum is not answered."""
    if meter.is_tcp:
        raise NotTested("Modbus TCP has no checksum")
    data = bytearray(meter.encoded(request_of(meter.unit, meter.block())))
    data[-1] ^= 0x5A
    return _silent(await meter.bench.ask(bytes(data)))


async def other_unit(meter: Subject) -> str:
    """A request for another unit is not answered; a gateway may say that nobody is there."""
    # Others may hang beside it: only who answers for each of them answers for others.
    said = []
    for step in OTHER_UNITS:
        request = request_of((meter.unit + step - 1) % HIGHEST_UNIT + 1, meter.block())
        reply = await meter.bench.ask(meter.encoded(request))
        if not reply.data:
            return f"silence of unit {request.unit}"
        answer = meter.only(reply, request)
        if answer.exception in GATEWAY_EXCEPTIONS:
            return f"exception {answer.exception:02X} of a gateway for unit {request.unit}"
        said.append(f"unit {request.unit} answers with {_refused(answer)}")
    raise CheckFailed("; ".join(said))


async def broadcast(meter: Subject) -> str:
    """A read for all units is not answered on a wire."""
    if meter.is_tcp:
        raise NotTested("over TCP unit 0 is the device itself")
    return _silent(await meter.bench.ask(meter.encoded(request_of(BROADCAST, meter.block()))))


async def in_pieces(meter: Subject) -> str:
    """A request in two segments is answered."""
    if not meter.is_tcp:
        raise NotTested("on a wire a pause ends a frame")
    data = meter.encoded(request_of(meter.unit, meter.block()))
    reply = await meter.bench.ask(data[:5], data[5:], pause_s=SHORT_PAUSE_S)
    meter.only(reply, request_of(meter.unit, meter.block()))
    return "answered"


async def after_noise(meter: Subject) -> str:
    """Half a frame and a pause hide no request."""
    if meter.is_tcp:
        raise NotTested("TCP has no pauses that end a frame")
    request = request_of(meter.unit, meter.block())
    data = meter.encoded(request)
    reply = await meter.bench.ask(data[:4], data, pause_s=OVER_S)
    meter.only(reply, request)
    return "answered"


async def unknown_function(meter: Subject) -> str:
    """A function that no meter has is refused with exception 01."""
    request = Frame(meter.unit, SELDOM_KNOWN, is_request=True)
    reply = await meter.bench.ask(meter.encoded(request))
    need(bool(reply.data), "silence")
    at = 7 if meter.is_tcp else 1
    need(
        reply.data[at : at + 2] == bytes((SELDOM_KNOWN[0] | 0x80, ILLEGAL_FUNCTION)),
        f"answered with {hexed(reply.data)}",
    )
    return f"exception {ILLEGAL_FUNCTION:02X}"


async def unknown_register(meter: Subject) -> str:
    """A register that is not there is refused with exception 02."""
    function = meter.block().function
    answer = await meter.read(Block(function, LAST_REGISTERS, 2))
    need(answer.exception == ILLEGAL_ADDRESS, _refused(answer))
    return _refused(answer)


async def no_registers(meter: Subject) -> str:
    """A read of no register is refused with exception 03."""
    return await _bad_count(meter, 0)


async def too_many_registers(meter: Subject) -> str:
    """A read of more than 125 registers is refused with exception 03."""
    return await _bad_count(meter, MOST_REGISTERS + 1)


async def _bad_count(meter: Subject, count: int) -> str:
    block = meter.block()
    pdu = bytes((block.function,)) + block.register.to_bytes(2, "big") + count.to_bytes(2, "big")
    answer = await meter.answer(Frame(meter.unit, pdu, is_request=True))
    need(answer.exception == ILLEGAL_VALUE, _refused(answer))
    return _refused(answer)


async def exception_form(meter: Subject) -> str:
    """A refusal has the function with its highest bit, and one code."""
    answer = await meter.read(Block(meter.block().function, LAST_REGISTERS, 2))
    if not answer.exception:
        raise NotTested("nothing is refused")
    need(len(answer.pdu) == 2, f"it has {len(answer.pdu)} bytes")
    need(answer.pdu[0] == meter.block().function | 0x80, f"it begins with {answer.pdu[0]:02X}")
    return hexed(answer.pdu)


async def reply_time(meter: Subject) -> str:
    """An answer begins within a second."""
    times = []
    for _ in range(ROUNDS):
        reply = await meter.bench.ask(meter.encoded(request_of(meter.unit, meter.block())))
        need(bool(reply.data), "silence")
        times.append(reply.first_s)
    words = f"{1000 * min(times):.0f} to {1000 * max(times):.0f} ms, "
    words += f"{1000 * median(times):.0f} in the middle"
    need(max(times) <= SLOWEST_S, words)
    return words


def _refused(answer: Frame) -> str:
    return f"exception {answer.exception:02X}" if answer.exception else f"data {hexed(answer.pdu)}"


def _silent(reply: Reply) -> str:
    need(not reply.data, f"it answered {hexed(reply.data)}")
    return "silence"
