"""The prepared polls of a line: freeze after freeze, by itself or together with other lines."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic

from daemon.acquisition.planning.reply_times import ReplyTimeouts
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.in_flight import InFlightRequest
from daemon.acquisition.polling.packed_slots import NUMBER_AT, plan
from daemon.acquisition.polling.rows import NO_ROW
from daemon.acquisition.polling.run import Run
from daemon.acquisition.polling.single import SinglePoller
from protocols.channels.streams import StreamChannel
from protocols.errors import LineDown


class Poll:
    """Runs a plan over a channel that it listens to meanwhile.

    While nothing is wrong and the line is one of many, its requests are made and answered in the
    batch poller, for all lines together. As soon as something is not as expected they come back
    (`take_back`), and the rest of the plan is gone through by the line itself."""

    __slots__ = (
        "_batch_poller",
        "_passed_over",
        "_row",
        "_run",
        "_single",
        "addresses",
        "clock",
        "counts",
        "dirty",
        "heard_from",
        "plan",
        "polled",
        "reply_timeouts",
        "silence",
        "trace",
    )

    def __init__(
        self,
        batch_poller: BatchPoller,
        reply_timeouts: ReplyTimeouts,
        addresses: bytes,
        *,
        clock: Callable[[int, int], bool],
        heard_from: Callable[[int, bool], None],
        silence: Callable[[int], None],
    ) -> None:
        self.reply_timeouts = reply_timeouts
        self.addresses = addresses
        """Of the meters of the line, as they are sent, one after the other."""
        self.clock = clock
        """(number, the meter's seconds since 00:00) -> False when something is not as it should
        be: the slot then takes the general way."""
        self.heard_from = heard_from
        """See PolledLine."""
        self.silence = silence
        """Called with the number of a meter for a slot without answer; its further slots are passed
        over."""
        self.counts = dict.fromkeys(("ok", "no_reply", "bad_frame", "late", "foreign"), 0)
        """Grows by outcome, as a Conversation tells them."""
        self.polled: list[tuple[int, int, tuple[int | None, ...]]] = []
        """(number of the meter, day number, five registers or another number of them, in 0.01 kWh)
        as they came, for the caller of `run` to take out."""
        self.plan = plan()
        self.trace: Callable[[str, bytes], None] | None = None
        """Takes ("tx" or "rx", bytes); looked at when a run begins."""
        self.dirty = False
        """Something was left on the line, which must be listened to before it is used."""
        self._batch_poller = batch_poller
        self._row = NO_ROW
        """The first of its rows in the batch poller."""
        self._single: SinglePoller | None = None
        """Made when it is needed first: of thousands of lines most never need it."""
        self._run: Run | None = None
        self._passed_over: frozenset[int] = frozenset()

    async def run(
        self,
        channel: StreamChannel,
        slots: array[int],
        today: int,
        *,
        depth: int = 1,
        lasts_s: float = inf,
    ) -> tuple[int, int] | None:
        """Until no slot of the plan is left, `interrupt` is called or the time is over.

        `depth` slots are under way at once, each of another meter. `today`: the day number from
        which the plan counts its ages. The slot (number of the meter, day number) that has to take
        the general way ends it and is returned. LineDown when the carrier is gone."""
        done = asyncio.get_running_loop().create_future()
        run = Run(
            channel,
            today,
            depth,
            monotonic() + lasts_s,
            done,
        )
        self._run = run
        self.plan = slots
        self._passed_over = frozenset()
        if self._single is not None:
            self._single.begin(run)
        try:
            channel.listen(self)
            if slots and self.trace is None and not channel.byte_s:
                self._row = self._batch_poller.join(
                    self,
                    channel.writer(),
                    today,
                    depth=depth,
                    ends_at=run.ends_at,
                )
            if self._row == NO_ROW:
                self._by_itself(run).go(depth)
            await done
        finally:
            run.is_stopped = True
            self._leave()
            if self._single is not None:
                self.dirty = self._single.end() or self.dirty
            channel.listen(None)
            self._run = None
        return run.odd

    def interrupt(self) -> None:
        """Ask nothing more: something is more urgent. What is in flight is waited for."""
        if self._run is not None:
            self._run.is_stopped = True
        if self._row != NO_ROW:
            self._batch_poller.stop(self._row)

    def next_slot(self, now: float) -> int | None:
        """See PolledLine."""
        plan = self.plan
        timeouts = self.reply_timeouts
        if not timeouts.is_troubled and not self._passed_over:
            return plan.pop() if plan else None
        while plan:
            slot = plan.pop()
            number = slot >> NUMBER_AT
            if number in self._passed_over:
                continue
            if timeouts.is_ready(number, now):
                return slot
            # The first of its slots may be the one that reads its clock.
            self.pass_over(number)
        return None

    def pass_over(self, number: int) -> None:
        """See SingleLine."""
        self._passed_over |= {number}

    # --- what the channel calls

    def heard(self, data: bytes) -> None:
        """See Listener."""
        if self._row != NO_ROW:
            self._batch_poller.receive(self._row, data)
        elif self._run is not None:
            self._by_itself(self._run).heard(data)

    def lost(self, error: LineDown) -> None:
        """See Listener."""
        self._leave()
        if self._run is not None:
            self._run.fail(error)

    # --- what the batch poller calls

    def take_back(
        self,
        requests: Sequence[InFlightRequest],
        idle: int,
        data: bytes,
    ) -> None:
        """See Client."""
        self._row = NO_ROW
        run = self._run
        assert run is not None
        try:
            self._by_itself(run).go(idle, requests, data)
        except Exception as error:
            run.fail(error)

    def is_through(self) -> None:
        """See Client."""
        self._row = NO_ROW
        if self._run is not None:
            self._run.finish()

    def fail(self, error: Exception) -> None:
        """See Client."""
        self._row = NO_ROW
        self.dirty = True
        if self._run is not None:
            self._run.fail(error)

    def _leave(self) -> None:
        if self._row != NO_ROW:
            self.dirty = self._batch_poller.leave(self._row) or self.dirty
            self._row = NO_ROW

    def _by_itself(self, run: Run) -> SinglePoller:
        if self._single is None:
            self._single = SinglePoller(self, self._batch_poller.deadlines)
            self._single.begin(run)
        return self._single
