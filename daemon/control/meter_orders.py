"""What is set in a meter beside its relay: to keep power (R85), to warn its customer (R88).

Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from daemon.control.commands import look_again
from daemon.control.observation import Answer
from protocols.reading import RelayState

What = Literal["keep_power", "alarm"]
VALID_FOR: Final = timedelta(minutes=2)
"""How long the meter may execute its frame: one that comes late must not meet another supply."""
MOST_SENDS: Final = 3
GIVE_UP_AFTER: Final = timedelta(days=1)
LOOKS_AFTER_ACK: Final = 3
"""What a meter accepted may show a little later."""
_PAUSES: Final = (timedelta(minutes=1), timedelta(minutes=5))


class Order(Protocol):
    """What is to be set in a meter, and how far that is."""

    @property
    def meter_id(self) -> int:
        """The meter, as the archive numbers it."""

    @property
    def what(self) -> What:
        """What is to be set."""

    @property
    def is_on(self) -> bool:
        """Whether it is to be on."""

    @property
    def state(self) -> str:
        """Persisted: no frame of it is on its way."""

    @property
    def sends(self) -> int:
        """How often its frame was sent."""

    @property
    def checks(self) -> int:
        """How often it was looked at since."""

    @property
    def made_at(self) -> datetime:
        """When it was written down."""


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of an order; `next_at` None ends it. `is_proved`: it is in the meter as ordered,
    as far as the meter tells."""

    state: str
    next_at: datetime | None
    detail: str
    is_proved: bool = False


def before_send(
    order: Order,
    relay: RelayState | None,
    now: datetime,
    *,
    is_wanted: bool,
    is_held_on: bool,
    has_command: bool,
) -> Next | None:
    """What becomes of an order that is not to be sent now; None when its frame may leave.

    `relay`: read just now, None where the meter is silent. `is_wanted`: that what is ordered be on.
    `is_held_on`: the supply is on as far as we ordered, and nobody holds it off."""
    if is_wanted != order.is_on:
        return Next("cancelled", None, "it is otherwise by now")
    if relay is None:
        return put_off(order, "the meter is silent", now)
    if order.what == "keep_power" and relay.keep_power == order.is_on:
        return Next("verified", None, "it is so already", is_proved=True)
    if has_command:
        return put_off(order, "a supply command is open", now)
    # Keep power closes the relay of a meter that is tripped, or is about to trip.
    is_closed = not relay.relay_open and not relay.command_open
    if order.is_on and not (is_held_on and is_closed):
        return put_off(order, "the supply is not on", now)
    return None


def after_answer(answer: Answer, detail: str, now: datetime) -> Next:
    """What becomes of an order by the meter's answer."""
    if answer in ("refused", "unauthorised"):
        return Next("refused", None, detail)
    return Next(answer, look_again(now, 0), detail)


def after_look(order: Order, relay: RelayState | None, now: datetime) -> Next:
    """What the meter shows makes of an order whose frame left."""
    was_accepted = order.state == "acked"
    if relay is None:
        # Silence is unknown, and what was accepted stays so.
        return put_off(order, "the meter is silent", now, "acked" if was_accepted else "unknown")
    is_keep_power = order.what == "keep_power"
    # A meter that never shows its warning shows none whatever became of the frame that ends it.
    is_told = is_keep_power or order.is_on or was_accepted
    if is_told and (relay.keep_power if is_keep_power else relay.alarm) == order.is_on:
        bit = 12 if is_keep_power else 7
        return Next("verified", None, f"bit {bit} of status word 3", is_proved=True)
    if was_accepted and order.checks < LOOKS_AFTER_ACK:
        return put_off(order, "accepted, and not shown yet", now, "acked")
    if was_accepted and not is_keep_power:
        return Next("acked", None, "accepted; the meter does not show it", is_proved=True)
    if order.sends >= MOST_SENDS:
        return Next("failed", None, f"not so after {order.sends} sends")
    return Next("persisted", now + _PAUSES[order.sends - 1], "not so, it is sent again")


def put_off(order: Order, detail: str, now: datetime, state: str = "persisted") -> Next:
    """Later, and ever more seldom; after a day no more."""
    if now - order.made_at >= GIVE_UP_AFTER:
        return Next("failed", None, detail)
    return Next(state, look_again(now, order.checks), detail)
