"""Our side of the contests. The one place that says how meterd polls; the benchmarks only measure
it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

from daemon.acquisition.drivers import driver_of
from daemon.acquisition.meter_port import Urgency
from daemon.acquisition.parts import Pace
from daemon.acquisition.planning.reply_times import ReplyTimeouts
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.packed_slots import entry, plan
from daemon.acquisition.polling.poll import Poll
from daemon.acquisition.site_clock import SiteClock
from daemon.acquisition.wire_line import WireLine, WireParts
from daemon.quality.arrival import Arrival, PolledFreeze
from protocols.channels.conversation import Timing
from protocols.channels.streams import StreamChannel
from protocols.dlt645.prepared.many import wire_addresses
from protocols.dlt645.prepared.steps import CLOCK, ENERGIES
from storage.archive import SiteMeter
from tests.bench.meters import address_of
from tests.line_parts import line_parts

LONGEST_WAIT_S = 1.0
LONGEST_PAUSE_S = 3600.0
QUIET_S = 0.5
CLOCK_OF_SITE = SiteClock(ZoneInfo("UTC"))
MOST_PASSES = 5

Take = Callable[[int, tuple[int | None, ...]], None]
"""Takes the registers of a meter, in 0.01 kWh."""


class OurLine:
    """The polls of one line with the meters `address_of(number)`, as a line of the daemon makes
    them."""

    def __init__(self, batch_poller: BatchPoller, numbers: Sequence[int], take: Take) -> None:
        self._numbers, self._take = numbers, take
        self._missed: list[int] = []
        """Which are to be asked again."""
        self.odd = 0
        self.reply_timeouts = ReplyTimeouts(
            len(numbers), longest_wait_s=LONGEST_WAIT_S, longest_pause_s=LONGEST_PAUSE_S
        )
        self._poll = Poll(
            batch_poller,
            self.reply_timeouts,
            wire_addresses(map(address_of, numbers)),
            clock=lambda number, seconds: True,
            heard_from=self._was_heard,
            silence=self._was_silent,
        )

    async def read_energies(self, channel: StreamChannel, times: int) -> None:
        """One question for each meter, so many times: the same work as the other contenders."""
        await self._run(channel, times * [*range(len(self._numbers))], ENERGIES, 1)

    async def read_freezes(self, channel: StreamChannel, depth: int) -> int:
        """Clock, stamp and energies of each meter, as a day is collected; `depth` meters are asked
        at once. Who did not answer in time is asked again at the end, as the daemon does. How many
        questions were answered."""
        before = self._poll.counts["ok"]
        self._missed = list(range(len(self._numbers)))
        for _ in range(MOST_PASSES):
            missed, self._missed = self._missed, []
            if missed:
                await self._run(channel, missed, CLOCK, depth)
        return self._poll.counts["ok"] - before

    @property
    def lost(self) -> int:
        """Questions without an answer so far."""
        return self._poll.counts["no_reply"]

    async def _run(
        self, channel: StreamChannel, numbers: Sequence[int], read: int, depth: int
    ) -> None:
        """What takes the general way in the daemon is left out and counted; the line falls quiet
        before the next."""
        left = plan(entry(number, 0, 1, read) for number in numbers)
        while left:
            odd = await self._poll.run(channel, left, datetime.now(UTC).toordinal(), depth=depth)
            if odd is not None:
                self.odd += 1
                self._missed.append(odd[0])
                await asyncio.sleep(QUIET_S)
        for number, _, registers in self._poll.polled:
            self._take(self._numbers[number], registers)
        self._poll.polled.clear()

    def _was_heard(self, number: int, is_told: bool) -> None:
        if is_told:
            self.reply_timeouts.record_reply(number, time.monotonic())

    def _was_silent(self, number: int) -> None:
        self._missed.append(number)
        self.reply_timeouts.record_timeout(number, time.monotonic())


class WholeLine(WireLine):
    """A line of the daemon as it is: what is wanted, jobs, learning, deadlines, the hand-off. Only
    its supply commands are left out: they wait in a database, and a line looks there when it is
    woken."""

    def __init__(
        self,
        batch_poller: BatchPoller,
        numbers: Sequence[int],
        days: int,
        submit: Callable[[Arrival | PolledFreeze], bool],
        pipelined: int = 1,
    ) -> None:
        long_ago = datetime.now(UTC).date() - timedelta(days=100)
        meters = [
            SiteMeter(
                meter_id=number,
                address=address_of(number),
                line="line",
                protocol="dlt645-2007",
                modulus=10**8,
                decimals=2,
                installed_on=long_ago,
                point_id=1,
                point=f"P{number}",
                max_daily_kwh=Decimal(380),
            )
            for number in numbers
        ]
        super().__init__(
            line_parts(
                "line",
                meters,
                submit,
                pace=Pace(retry_s=LONGEST_PAUSE_S, reconnect_s=1),
                backfill_days=days,
                clock=CLOCK_OF_SITE,
            ),
            WireParts(
                driver_of=lambda meter: driver_of(meter, {}, has_relay=False),
                open_channel=cast(Any, None),
                timing=Timing(reply_timeout_s=LONGEST_WAIT_S),
                batch_poller=batch_poller,
                pipelined=pipelined,
            ),
        )

    async def collect(self, channel: StreamChannel) -> None:
        """Every slot that is wanted, until none is."""
        conversations = self._converse_over(channel)
        while True:
            if not await self._collect(conversations):
                at = self._jobs.wanted.next_at(self._jobs.reply_timeouts.ready_at())
                if at is None:
                    return
                await asyncio.sleep(max(0.01, min(1.0, at - time.monotonic())))

    def _give_way(self, urgency: Urgency) -> None:
        """Nothing is more urgent."""
