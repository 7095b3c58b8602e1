"""Our own JSON form, as a gateway speaks it for its meters (docs/mqtt.md). No I/O."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec

from protocols.dlt645.exchanges import PREPAYMENT_MODES
from protocols.errors import FrameError, MeterRefused
from protocols.mqtt.messages import (
    VERSION,
    Answer,
    Command,
    DailyFreeze,
    Frozen,
    Identity,
    Read,
    Relay,
    Status,
    decode_down,
    encode,
)
from simulators.mqtt.form import Meters, Publication, Switch, clock_skew_s, registers_kwh
from simulators.state.meter import Freeze, MeterState


class OwnForm:
    """A gateway with `root` before all its topics."""

    def __init__(
        self,
        root: str,
        meters: Meters,
        switch: Switch,
    ) -> None:
        self._root = root
        self._meters = meters
        self._switch = switch
        self._answers: dict[UUID, Answer] = {}
        """By the id of the command: one that comes twice is done once."""

    def status(self, *, online: bool) -> Publication:
        """Published, retained, after connecting; and left behind as last will."""
        return Publication(f"{self._root}/up/status", encode(Status(v=VERSION, online=online)))

    def topics(self) -> list[str]:
        """Reads and commands."""
        return [f"{self._root}/down/+"]

    def answers(
        self,
        topic: str,
        payload: bytes,
        *,
        retained: bool,
    ) -> list[Publication]:
        """One answer with the token that it was asked with."""
        try:
            asked = decode_down(payload)
        except FrameError:
            return []
        if isinstance(asked, Status):
            return []
        if isinstance(asked, Command) and retained:
            return []  # it is old: a relay is not moved by what was left at the broker
        answer = self._answer_to(asked)
        return [Publication(f"{self._root}/up/answer", encode(answer))]

    def pushed(self, meter: MeterState, freeze: Freeze) -> list[Publication]:
        """The daily freeze."""
        message = DailyFreeze(
            v=VERSION,
            meter=meter.address,
            frozen_at=freeze.stamp,
            registers=registers_kwh(meter, freeze.at),
            read_at=datetime.now(UTC),
            clock_skew_s=clock_skew_s(meter, meter.now()),
        )
        return [Publication(f"{self._root}/up/daily_freeze", encode(message))]

    def _answer_to(self, asked: Read | Command) -> Answer:
        if asked.expires <= datetime.now(UTC):
            return _answer(asked, "expired", "it came too late")
        meter = self._meters.get(asked.meter)
        if meter is None:
            return _answer(asked, "no_reply", "there is no such meter")
        if isinstance(asked, Command):
            if asked.id not in self._answers:
                self._answers[asked.id] = self._obey(asked)
            return msgspec.structs.replace(self._answers[asked.id], token=asked.token)
        now = meter.settle()
        match asked.what:
            case "daily_freeze":
                return _answer_with_freeze(asked, meter, now)
            case "registers":
                return _answer(asked, "ok", registers=registers_kwh(meter, now))
            case "relay":
                return _answer(asked, "ok", relay=_relay(meter))
            case "identity":
                return _answer(asked, "ok", identity=_identity(meter))

    def _obey(self, asked: Command) -> Answer:
        try:
            self._switch(asked.meter, asked.action)
        except MeterRefused as refusal:
            return _answer(asked, "refused", str(refusal))
        return _answer(asked, "accepted")


def _answer_with_freeze(
    asked: Read,
    meter: MeterState,
    now: datetime,
) -> Answer:
    freeze = _freeze_of(meter, asked.day, now)
    if freeze is None:
        return _answer(asked, "no_data", "no freeze of that day")
    frozen = Frozen(
        frozen_at=freeze.stamp,
        registers=registers_kwh(meter, freeze.at),
        clock_skew_s=clock_skew_s(meter, now),
    )
    return _answer(asked, "ok", daily_freeze=frozen)


def _freeze_of(
    meter: MeterState,
    day: date | None,
    now: datetime,
) -> Freeze | None:
    for freeze in meter.daily_freezes(now):
        if freeze.stamp.date() == day:
            return freeze
    return None


def _relay(meter: MeterState) -> Relay:
    return Relay(
        open=meter.relay.is_open,
        command_open=meter.relay.command_open,
        keep_power=meter.relay.keeps_power,
    )


def _identity(meter: MeterState) -> Identity:
    mode = PREPAYMENT_MODES[meter.spec.meter_type]
    return Identity(serial=meter.serial, prepayment=mode)


def _answer(asked: Read | Command, outcome: Any, reason: str = "", **value: Any) -> Answer:
    return Answer(
        v=VERSION,
        token=asked.token,
        meter=asked.meter,
        outcome=outcome,
        reason=reason,
        **value,
    )
