"""Where a line gets orders from: what is to be set in its meters beside their relays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from daemon.control.meter_orders import Order
from daemon.control.observation import Answer
from protocols.reading import RelayState


class OrderStep(Protocol):
    """One step of an order; what comes of it is written down before each call here returns."""

    @property
    def kind(self) -> Literal["send", "verify"]:
        """What is to be done."""

    @property
    def order(self) -> Order:
        """The order it belongs to."""

    async def release(self, relay: RelayState | None) -> bool:
        """True if its frame may leave now. `relay`: read just now; None when it could not be."""

    async def answered(self, answer: Answer, detail: str) -> None:
        """What came back for the frame."""

    async def observed(self, relay: RelayState | None) -> None:
        """The meter as it was read after a frame; None when it could not be."""

    async def put_off(self, reason: str) -> None:
        """Nothing was sent now."""

    async def refuse(self, reason: str) -> None:
        """The meter can never do that."""


class OrderSource(Protocol):
    """Where a line gets its orders from, one at a time."""

    def wake(self) -> None:
        """An order may be waiting: look at once."""

    def due_in_s(self) -> float:
        """Seconds until there is something to look at; infinite when nothing is known of."""

    def is_due(self) -> bool:
        """True if `serve` would look now."""

    async def serve(self, execute: Callable[[OrderStep], Awaitable[None]]) -> bool:
        """Execute the next step if one is due; True if there was one."""
