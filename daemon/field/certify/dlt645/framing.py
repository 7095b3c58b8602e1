"""Checks of frames: what is answered, how, and how fast."""

from __future__ import annotations

from statistics import median
from typing import Final

from daemon.field.certify.bench import NotTested, hexed, need
from daemon.field.certify.dlt645.subject import (
    DATE,
    ENERGIES,
    ENERGY,
    Subject,
    is_of_several,
    only_answer,
    read_of,
    silent,
)
from protocols.dlt645 import functions
from protocols.dlt645.bcd import (
    digits_of,
)
from protocols.dlt645.frame import (
    ANY_ADDRESS,
    BROADCAST,
    FE,
    WAKE_UP,
    Frame,
    encode,
)

MOST_WAKE_UP: Final = 4
SLOWEST_S: Final = 0.5
"""Td is 20 to 500 ms."""
MOST_GAP_S: Final = 0.5
ROUNDS: Final = 20
SHORT_PAUSE_S: Final = 0.1
OVER_S: Final = 0.7
"""A request that pauses longer inside a frame is over."""


async def answers(meter: Subject) -> str:
    """A read of its energy is answered from its own address."""
    answer = await meter.read(ENERGY)
    need(answer.address == meter.address, f"the answer is from {answer.address}")
    return f"{ENERGY} is answered with control byte {answer.control:02X}"


async def one_answer(meter: Subject) -> str:
    """At most four FE, then one frame, then nothing."""
    reply = await meter.ask(read_of(meter.address, ENERGY))
    need(bool(reply.data), "silence")
    body = reply.data.lstrip(FE)
    woken = len(reply.data) - len(body)
    need(woken <= MOST_WAKE_UP, f"{woken} FE come before it")
    frame = only_answer(reply, read_of(meter.address, ENERGY))
    need(body == encode(frame), f"something follows it: {hexed(body)}")
    return f"{woken} FE, then one frame"


async def wake_up(meter: Subject) -> str:
    """Requests with 0, 1 and 4 FE before them are heard."""
    for count in (0, 1, 4):
        reply = await meter.ask(read_of(meter.address, ENERGY), FE * count)
        need(bool(reply.data), f"silence to a request with {count} FE before it")
    return "it answers with 0, 1 and 4 FE before the request"


async def in_pieces(meter: Subject) -> str:
    """A request that pauses for less than 0.5 s is heard."""
    request = WAKE_UP + encode(read_of(meter.address, ENERGY))
    reply = await meter.bench.ask(request[:9], request[9:], pause_s=SHORT_PAUSE_S)
    only_answer(reply, read_of(meter.address, ENERGY))
    return f"a request with a pause of {SHORT_PAUSE_S:g} s inside is answered"


async def wrong_checksum(meter: Subject) -> str:
    """A wrong checksum is not answered."""
    request = bytearray(WAKE_UP + encode(read_of(meter.address, ENERGY)))
    request[-2] ^= 0x5A
    return silent(await meter.bench.ask(bytes(request)))


async def wrong_end(meter: Subject) -> str:
    """A frame that does not end with 16 is not answered."""
    request = WAKE_UP + encode(read_of(meter.address, ENERGY))
    return silent(await meter.bench.ask(request[:-1] + b"\x17"))


async def after_noise(meter: Subject) -> str:
    """Half a frame and a pause hide no request."""
    request = WAKE_UP + encode(read_of(meter.address, ENERGY))
    reply = await meter.bench.ask(bytes.fromhex("680102"), request, pause_s=OVER_S)
    only_answer(reply, read_of(meter.address, ENERGY))
    return "a request behind the beginning of another frame is answered"


async def foreign_address(meter: Subject) -> str:
    """Others' requests are not answered."""
    # Not the next one: numbers that follow each other hang beside each other.
    other = "".join(str((int(digit) + 5) % 10) for digit in meter.address)
    return silent(await meter.ask(read_of(other, ENERGY)))


async def broadcast(meter: Subject) -> str:
    """A read of 99..99 is not answered."""
    return silent(await meter.ask(read_of(BROADCAST, ENERGY)))


async def wildcard(meter: Subject) -> str:
    """Read address at AA..AA tells the address."""
    request = Frame(ANY_ADDRESS, functions.READ_ADDRESS)
    reply = await meter.ask(request)
    if reply.data and is_of_several(reply.data):
        raise NotTested(f"several answer at once, or none as it should: {hexed(reply.data)}")
    answer = only_answer(reply, request)
    need(
        answer.data == bytes.fromhex(meter.address)[::-1],
        f"the data say {digits_of(answer.data)}",
    )
    need(answer.address == meter.address, f"the answer carries the address {answer.address}")
    return "read address tells its address"


async def abbreviated(meter: Subject) -> str:
    """AA in the high bytes of an address fits all."""
    pattern = meter.address[-4:].rjust(12, "A")
    answer = only_answer(await meter.ask(read_of(pattern, ENERGY)), read_of(pattern, ENERGY))
    need(answer.address == meter.address, f"the answer carries the address {answer.address}")
    return f"it answers to {pattern}"


async def reply_time(meter: Subject) -> str:
    """An answer begins within 500 ms."""
    times = []
    for _ in range(ROUNDS):
        reply = await meter.ask(read_of(meter.address, ENERGY))
        need(bool(reply.data), "silence")
        times.append(reply.first_s)
    words = f"{1000 * min(times):.0f} to {1000 * max(times):.0f} ms, "
    words += f"{1000 * median(times):.0f} in the middle"
    need(max(times) <= SLOWEST_S, words)
    return words


async def byte_gaps(meter: Subject) -> str:
    """No pause of more than 500 ms is in an answer."""
    longest = 0.0
    for identifier in (ENERGY, ENERGIES, DATE):
        reply = await meter.ask(read_of(meter.address, identifier))
        need(bool(reply.data), f"silence to {identifier}")
        longest = max(longest, reply.longest_gap_s)
    need(longest <= MOST_GAP_S, f"a pause of {1000 * longest:.0f} ms inside an answer")
    return f"{1000 * longest:.0f} ms at the most"
