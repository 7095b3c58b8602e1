"""Checks of the status word, and of what changes a meter: writes and commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from daemon.field.certify.bench import CheckFailed, NotTested, hexed, need
from daemon.field.certify.dlt645.subject import CLOCK_LIMIT, DATE, TIME, Subject, clock, silent
from protocols.dlt645 import functions
from protocols.dlt645.bcd import (
    encode_time,
)
from protocols.dlt645.exchanges import CLOCK, RelayAction, StatusWord3
from protocols.dlt645.frame import (
    Frame,
)
from protocols.dlt645.messages import identifier_on_the_wire
from protocols.dlt645.writing import Authority

STATUS_WORD_3: Final = "04000503"
DEMAND_PERIOD: Final = "04000103"
MOVES_WITHIN_S: Final = 10.0
LOOK_AGAIN_S: Final = 0.25
TRIES: Final = 3
"""What a check changed is put right so often until the meter confirms it."""
NO_AUTHORITY: Final = 0x04
"""Of an error word: the password, or its level, is not the meter's."""


async def status_word(meter: Subject) -> str:
    """Status word 3 has two bytes."""
    word = await _status(meter)
    return f"{word.word:04X}: relay {'open' if word.relay_open else 'closed'}"


async def _status(meter: Subject) -> StatusWord3:
    data = await meter.data(STATUS_WORD_3)
    need(len(data) == 2, f"status word 3 has {len(data)} bytes")
    word = StatusWord3(int.from_bytes(data, "little"))
    need(word.meter_type != 3, f"bits 8-9 of {word.word:04X} say a type that is reserved")
    return word


async def _write(meter: Subject, identifier: str, value: bytes, authority: Authority) -> Frame:
    wanted = identifier_on_the_wire(identifier)
    return await meter.answer(
        Frame(meter.address, functions.WRITE, wanted + authority.on_the_wire() + value)
    )


def _authority(meter: Subject) -> Authority:
    if meter.authority is None:
        raise NotTested("no password is given")
    if meter.takes_no_password:
        raise NotTested(f"the meter takes no such password at level {meter.authority.level}")
    return meter.authority


def _look_whether_taken(meter: Subject, answer: Frame) -> None:
    """NotTested where the meter refuses the password that was given: then nothing that needs one
    says anything of it, and it is tried no more, because meters lock after some wrong ones."""
    meter.takes_no_password = _is_no_authority(answer)
    _authority(meter)


def _is_no_authority(answer: Frame) -> bool:
    return answer.is_abnormal and bool(answer.data and answer.data[0] & NO_AUTHORITY)


def _wrong(authority: Authority) -> Authority:
    """The same with another password."""
    last = (int(authority.password[-1]) + 1) % 10
    return Authority(authority.level, f"{authority.password[:-1]}{last}", authority.operator)


async def wrong_password(meter: Subject) -> str:
    """A wrong password opens nothing: ERR bit 2."""
    value = await meter.data(DEMAND_PERIOD)
    answer = await _write(meter, DEMAND_PERIOD, value, _wrong(_authority(meter)))
    need(answer.is_abnormal, "a write with a wrong password is confirmed")
    need(
        bool(answer.data and answer.data[0] & NO_AUTHORITY),
        f"the error word is {hexed(answer.data)}",
    )
    return f"refused with {hexed(answer.data)}"


async def write_back(meter: Subject) -> str:
    """What is written is kept.

    The value that is there is written, so that nothing changes; then another, and it again."""
    authority = _authority(meter)
    value = await meter.data(DEMAND_PERIOD)
    other = bytes.fromhex("30") if value != bytes.fromhex("30") else bytes.fromhex("15")
    try:
        for wanted in (other, value):
            answer = await _write(meter, DEMAND_PERIOD, wanted, authority)
            _look_whether_taken(meter, answer)
            need(not answer.is_abnormal, f"the write is refused with {hexed(answer.data)}")
            kept = await meter.data(DEMAND_PERIOD)
            need(kept == wanted, f"{hexed(wanted)} was confirmed and {hexed(kept)} is kept")
    except CheckFailed as failure:
        # A write whose answer is lost may have been done.
        set_now = await _put_back(meter, value, authority)
        raise CheckFailed(f"{failure}; {set_now}") from failure
    return "written and read back"


async def _put_back(meter: Subject, value: bytes, authority: Authority) -> str:
    """What is set now, in words: what was before, if the meter takes it."""
    kept = None
    for _ in range(TRIES):
        try:
            kept = await meter.data(DEMAND_PERIOD)
            if kept == value:
                return f"{hexed(value)} is set, as before"
            await _write(meter, DEMAND_PERIOD, value, authority)
            kept = await meter.data(DEMAND_PERIOD)
            if kept == value:
                return f"{hexed(value)} is set again, as before"
        except (CheckFailed, NotTested):
            continue
    now = "nobody knows what is set now" if kept is None else f"{hexed(kept)} is set now"
    return f"{now}: set {DEMAND_PERIOD} to {hexed(value)} again, as it was before"


async def clock_limits(meter: Subject) -> str:
    """A broadcast 10 minutes off is not taken.

    A time 10 minutes off, told to this meter alone, must not be taken."""
    before = await clock(meter)
    wrong = before + 2 * CLOCK_LIMIT
    told = Frame(meter.address, functions.BROADCAST_TIME, encode_time(wrong, CLOCK))
    silent(await meter.ask(told))
    after = await clock(meter)
    if after - before > CLOCK_LIMIT:
        shows = "shows that time until somebody sets it"
        if await _is_set_back(meter):
            shows = "was set to the right time"
        raise CheckFailed(f"a time 10 minutes off was taken; its clock {shows}")
    return "10 minutes are not taken, and not answered"


async def _is_set_back(meter: Subject) -> bool:
    """Whether the clock could be set to the right time."""
    if meter.authority is None or meter.takes_no_password:
        return False
    now = meter.now()
    for identifier, form in ((DATE, "WW DD MM YY"), (TIME, "ss mm hh")):
        answer = await _write(meter, identifier, encode_time(now, form), meter.authority)
        if answer.is_abnormal:
            meter.takes_no_password = _is_no_authority(answer)
            return False
    return True


async def _control(
    meter: Subject, action: RelayAction, authority: Authority, expires: datetime
) -> Frame:
    data = authority.on_the_wire() + bytes((action.value, 0)) + encode_time(expires, CLOCK)
    return await meter.answer(Frame(meter.address, functions.CONTROL, data))


async def expired(meter: Subject) -> str:
    """An expired command is refused.

    An alarm, which does no harm to whoever it is given by mistake."""
    at = await clock(meter) - timedelta(minutes=10)
    answer = await _control(meter, RelayAction.ALARM, _authority(meter), at)
    if not answer.is_abnormal:
        await _order(meter, RelayAction.END_ALARM)
        raise CheckFailed("a command that expired 10 minutes ago is confirmed")
    _look_whether_taken(meter, answer)
    return f"refused with {hexed(answer.data)}"


async def in_time(meter: Subject) -> str:
    """A command within its time is obeyed."""
    for action in (RelayAction.ALARM, RelayAction.END_ALARM):
        await _order(meter, action)
    return "a command that is valid for 5 minutes more is confirmed"


class OrderRefused(CheckFailed):
    """The meter says that it does not obey: nothing was done."""


async def _order(meter: Subject, action: RelayAction) -> None:
    expires = await clock(meter) + timedelta(minutes=5)
    answer = await _control(meter, action, _authority(meter), expires)
    _look_whether_taken(meter, answer)
    if answer.is_abnormal:
        raise OrderRefused(f"{action.name.lower()} is refused with {hexed(answer.data)}")


@asynccontextmanager
async def _ordered(
    meter: Subject, action: RelayAction, back: RelayAction, otherwise: str
) -> AsyncIterator[None]:
    """Order it, and behind that back; also where its answer is lost, for it may have been done."""
    async with AsyncExitStack() as behind:
        behind.push_async_callback(_undo, meter, back, otherwise)
        try:
            await _order(meter, action)
        except OrderRefused:
            behind.pop_all()
            raise
        yield


async def _undo(meter: Subject, action: RelayAction, otherwise: str) -> None:
    """Order it until the meter confirms it. CheckFailed, with what may be so otherwise."""
    for tries in range(1, TRIES + 1):
        try:
            await _order(meter, action)
        except CheckFailed as failure:
            if tries == TRIES:
                raise CheckFailed(f"{failure}; {otherwise}") from failure
        else:
            return


async def control_password(meter: Subject) -> str:
    """A command with a wrong password is refused."""
    expires = await clock(meter) + timedelta(minutes=5)
    answer = await _control(meter, RelayAction.ALARM, _wrong(_authority(meter)), expires)
    if not answer.is_abnormal:
        await _order(meter, RelayAction.END_ALARM)
        raise CheckFailed("a command with a wrong password is confirmed")
    return f"refused with {hexed(answer.data)}"


async def trip(meter: Subject) -> str:
    """The relay moves, and its state says so."""
    word = await _status(meter)
    if word.keep_power:
        raise NotTested("power is kept: a trip would be refused")
    if word.relay_open:
        raise NotTested("the relay is open already")
    may_be = "the relay may be open still: close it by hand"
    async with _ordered(meter, RelayAction.TRIP, RelayAction.CLOSE, may_be):
        await _until(meter, is_open=True)
    await _until(meter, is_open=False)
    return "it opens and closes again, and status word 3 says so"


async def _until(meter: Subject, *, is_open: bool) -> None:
    """Wait until the relay is in fact as it was told to be."""
    clock = asyncio.get_running_loop().time
    until = clock() + MOVES_WITHIN_S
    while (await _status(meter)).relay_open is not is_open:
        need(
            clock() < until,
            f"{MOVES_WITHIN_S:g} s after the confirmation the relay is "
            f"{'closed' if is_open else 'open'}",
        )
        await asyncio.sleep(LOOK_AGAIN_S)


async def keep_power(meter: Subject) -> str:
    """No trip while power is kept (State Grid addendum, 3A and 3B)."""
    word = await _status(meter)
    if word.keep_power or word.relay_open:
        raise NotTested("power is kept or cut already")
    may_be = "power may be kept still: end it by hand, or no trip is taken"
    async with _ordered(meter, RelayAction.KEEP_POWER, RelayAction.END_KEEP_POWER, may_be):
        need((await _status(meter)).keep_power, "bit 12 of status word 3 does not say it")
        expires = await clock(meter) + timedelta(minutes=5)
        answer = await _control(meter, RelayAction.TRIP, _authority(meter), expires)
        if not answer.is_abnormal:
            await _undo(meter, RelayAction.CLOSE, "the relay may be open: close it by hand")
            raise CheckFailed("a trip is confirmed while power is kept")
    return "a trip is refused while power is kept"
