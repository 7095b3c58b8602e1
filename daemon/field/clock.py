"""Shows meters' clocks, sets them, and proves it by reading them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

from daemon.field.connection import Connection
from daemon.field.language import LANGUAGES, Language
from protocols.channels.conversation import Conversation
from protocols.dlt645.frame import Frame
from protocols.dlt645.writing import Authority
from protocols.errors import FrameError, LineDown, MeterdError, MeterRefused, NoReply

BROADCAST_LIMIT: Final = timedelta(minutes=5)
"""A meter takes a broadcast time for no greater difference, once a day, and not that near to
midnight (DL/T 645-2007)."""
STEP_LIMIT: Final = timedelta(minutes=5)
"""A clock is not moved further without a question."""
GOOD_ENOUGH: Final = timedelta(seconds=3)


class ClockNotSet(MeterdError):
    """A clock was left as it is, or what it shows is not known.

    The operator acts: another hour, the password, a write instead of a broadcast."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A meter's clock and how far it is ahead of this machine's.

    Both are None with `wrong`, which says why it could not be read."""

    meter: str
    clock: datetime | None
    ahead: timedelta | None
    wrong: str = ""

    @property
    def is_good(self) -> bool:
        """True for a clock that was read and is right."""
        return self.ahead is not None and abs(self.ahead) <= GOOD_ENOUGH


def wall_clock(zone: tzinfo) -> datetime:
    """What a clock in that zone shows now, without a zone as meters' clocks are."""
    return datetime.now(zone).replace(tzinfo=None)


def in_words(ahead: timedelta) -> str:
    """A difference as a person says it."""
    seconds = round(ahead.total_seconds())
    return f"{abs(seconds)} s {'ahead' if seconds >= 0 else 'behind'}"


async def read_clocks(
    connection: Connection,
    protocol: str,
    meters: Sequence[str],
    now: Callable[[], datetime],
) -> list[ClockReading]:
    """The meters' clocks. LineDown; what else goes wrong is in the readings."""
    language = LANGUAGES[protocol]
    async with connection.conversation(language.codec) as conversation:
        return await _Clocks(conversation, language, now).read(meters)


async def set_clocks(
    connection: Connection,
    protocol: str,
    meters: Sequence[str],
    authority: Authority,
    now: Callable[[], datetime],
) -> list[ClockReading]:
    """The clocks after each was written. ClockNotSet, LineDown, FrameError.

    Once one cannot be set, the others are left alone: a password that is wrong for one meter would
    be counted by all."""
    language = LANGUAGES[protocol]
    # Before the line is opened, and again before each clock.
    _refuse_near_midnight(now())
    async with connection.conversation(language.codec) as conversation:
        clocks = _Clocks(conversation, language, now)
        for number, meter in enumerate(meters):
            try:
                await clocks.set(meter, authority)
            except (NoReply, LineDown, MeterRefused) as error:
                done = f"; set before it: {', '.join(meters[:number])}" if number else ""
                raise ClockNotSet(
                    f"{error}\nWhat meter {meter} shows now is not known: read it{done}"
                ) from None
        return await clocks.read(meters)


async def broadcast_time(
    connection: Connection,
    protocol: str,
    meters: Sequence[str],
    now: Callable[[], datetime],
) -> list[ClockReading]:
    """The clocks after all meters of the line were told the time. ClockNotSet, LineDown.

    No meter answers a broadcast (function 08), so `meters` are read before and after it."""
    language = LANGUAGES[protocol]
    _refuse_near_midnight(now())
    async with connection.conversation(language.codec) as conversation:
        clocks = _Clocks(conversation, language, now)
        # A meter takes one broadcast a day (DL/T 645-2007): none is spent while one needs a write.
        _refuse_too_wrong(await clocks.read(meters))
        await clocks.broadcast()
        return await clocks.read(meters)


class _Clocks:
    """The clocks of meters on an open line."""

    def __init__(
        self,
        conversation: Conversation[Frame],
        language: Language,
        now: Callable[[], datetime],
    ) -> None:
        self._conversation = conversation
        self._language = language
        self._now = now

    async def read(self, meters: Sequence[str]) -> list[ClockReading]:
        return [await self._read(meter) for meter in meters]

    async def set(self, meter: str, authority: Authority) -> None:
        # Asked before each clock: to reach many meters takes minutes.
        _refuse_near_midnight(self._now())
        exchange = self._language.set_clock(meter, self._now, authority)
        # Sent once: a meter counts wrong passwords and locks itself.
        await self._conversation.run(exchange, retries=0)

    async def broadcast(self) -> None:
        now = self._now()
        _refuse_near_midnight(now)
        await self._conversation.run(self._language.broadcast_time(now))

    async def _read(self, meter: str) -> ClockReading:
        try:
            clock = await self._conversation.run(self._language.read_clock(meter))
        except (NoReply, MeterRefused, FrameError) as error:
            return ClockReading(meter, None, None, str(error))
        return ClockReading(meter, clock, clock - self._now())


def _refuse_near_midnight(now: datetime) -> None:
    margins = (-BROADCAST_LIMIT, BROADCAST_LIMIT)
    if any((now + margin).date() != now.date() for margin in margins):
        raise ClockNotSet(
            "no clock is set within 5 minutes of midnight: "
            "a day's freeze could be lost or taken twice"
        )


def _refuse_too_wrong(readings: Sequence[ClockReading]) -> None:
    for reading in readings:
        if reading.ahead is not None and abs(reading.ahead) > BROADCAST_LIMIT:
            raise ClockNotSet(
                f"meter {reading.meter} is {in_words(reading.ahead)}: it takes a broadcast for "
                "5 minutes at the most; set it with --set"
            )
