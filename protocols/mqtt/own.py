"""Our own form between meterd and one gateway: its topics, and its messages in the common words.

`{prefix}/{gateway}/up/...` comes from the gateway, `{prefix}/{gateway}/down/...` goes to it; the
last level is the message's type. docs/mqtt.md is the whole agreement."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from protocols.errors import FrameError
from protocols.mqtt import messages
from protocols.mqtt.events import (
    Action,
    Answered,
    Echoed,
    Event,
    FreezeReport,
    IdentityReport,
    Outgoing,
    PresenceReport,
    RegisterReport,
    RelayReport,
)
from protocols.mqtt.messages import (
    VERSION,
    Answer,
    Command,
    DailyFreeze,
    Echo,
    Read,
    Status,
    decode_up,
    encode,
)


class OwnForm:
    """The family of gateways that speak our form; a device is named by its meter's 12 digits."""

    def __init__(self, prefix: str, gateway: str) -> None:
        self.root: Final = f"{prefix}/{gateway}"
        self._up: Final = f"{self.root}/up/"
        self._down: Final = f"{self.root}/down/"
        self.subscriptions = (f"{self._up}+",)

    def read_freeze(
        self,
        device: str,
        day: date,
        token: str,
        expires: datetime,
    ) -> Outgoing:
        """See Family."""
        message = Read(
            v=VERSION,
            token=token,
            meter=device,
            what="daily_freeze",
            day=day,
            expires=expires,
        )
        return self._read(message)

    def read_registers(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        message = Read(v=VERSION, token=token, meter=device, what="registers", expires=expires)
        return self._read(message)

    def read_relay(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        message = Read(v=VERSION, token=token, meter=device, what="relay", expires=expires)
        return self._read(message)

    def read_identity(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        message = Read(v=VERSION, token=token, meter=device, what="identity", expires=expires)
        return self._read(message)

    def _read(self, message: Read) -> Outgoing:
        return Outgoing(f"{self._down}read", encode(message), message.token)

    def control(
        self,
        device: str,
        action: Action,
        command_id: UUID,
        token: str,
        expires: datetime,
    ) -> Outgoing:
        """See Family."""
        message = Command(
            v=VERSION,
            token=token,
            id=command_id,
            meter=device,
            action=action,
            expires=expires,
        )
        return Outgoing(f"{self._down}command", encode(message), token)

    def echo(self, token: str) -> Outgoing:
        """See Family."""
        return Outgoing(f"{self._up}echo", encode(Echo(v=VERSION, token=token)), token)

    def presence(self, *, is_online: bool) -> Outgoing:
        """See Family."""
        return Outgoing(f"{self._down}status", encode(Status(v=VERSION, online=is_online)), "")

    def is_control(self, topic: str, payload: bytes) -> bool:
        """True by topic, and by content: a command is one wherever it is sent to."""
        return topic == f"{self._down}command" or b'"command"' in payload

    def events(self, topic: str, payload: bytes) -> list[Event]:
        """FrameError names the topic, the message, the field and what is wrong with it."""
        if not topic.startswith(self._up):
            return []
        try:
            message = decode_up(payload)
        except FrameError as error:
            raise FrameError(f"{topic}: {error}") from None
        kind = topic[len(self._up) :]
        if kind != message.__struct_config__.tag:
            raise FrameError(
                f"{topic}: carries a message of type {message.__struct_config__.tag!r}"
            )
        match message:
            case DailyFreeze():
                return [_freeze(message.meter, message)]
            case Answer():
                return [_answered(topic, message)]
            case Status():
                return [PresenceReport(None, message.online)]
            case Echo():
                return [Echoed(message.token)]


def _answered(topic: str, answer: Answer) -> Event:
    values = [
        value
        for value in (answer.daily_freeze, answer.registers, answer.relay, answer.identity)
        if value is not None
    ]
    # msgspec's types cannot say that a value belongs to ok and to nothing else.
    if len(values) != (answer.outcome == "ok"):
        raise FrameError(
            f"{topic}: outcome {answer.outcome!r} with {len(values)} values; "
            "ok has one, all others none"
        )
    if answer.daily_freeze is not None:
        return _freeze(answer.meter, answer.daily_freeze, answer.token)
    if answer.registers is not None:
        return RegisterReport(answer.meter, _kwh(answer.registers), token=answer.token)
    if answer.relay is not None:
        relay = answer.relay
        return RelayReport(
            answer.meter,
            relay.open,
            relay.command_open,
            relay.keep_power,
            answer.token,
        )
    if answer.identity is not None:
        identity = answer.identity
        return IdentityReport(answer.meter, identity.serial, identity.prepayment, answer.token)
    return Answered(answer.meter, answer.token, answer.outcome, answer.reason)


def _freeze(
    meter: str, freeze: DailyFreeze | messages.Frozen, token: str | None = None
) -> FreezeReport:
    skew = None
    if freeze.clock_skew_s is not None:
        skew = timedelta(seconds=freeze.clock_skew_s)
    return FreezeReport(
        meter,
        freeze.frozen_at,
        _kwh(freeze.registers),
        skew,
        token,
        freeze.serial,
    )


def _kwh(registers: tuple[str | None, ...]) -> tuple[Decimal | None, ...]:
    return tuple(None if energy is None else Decimal(energy) for energy in registers)
