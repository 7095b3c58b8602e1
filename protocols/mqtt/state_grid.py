"""The data base of a State Grid edge terminal (TTU): JSON on database topics, values as strings.

`{app}/get/request/database/realtime` is answered on `database/get/response/{app}/realtime` with the
same token; what an application reports by itself comes on
`{app}/notify/event/database/{model}/{device}`. What a value is called differs from model to model,
so the names are configured. This form of the terminal has no
agreed command for a relay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from protocols.errors import FrameError
from protocols.mqtt.events import Answered, Event, Outgoing, RegisterReport
from protocols.mqtt.foreign import energy, json_object, number, wall_time
from protocols.reading import Quantity


class StateGrid:
    """We are the application `app`.

    `registers`: names of the total and the tariffs (kWh). `values`: names of other items.
    `reporters`: applications whose reports are taken. A value of bad quality (not 0 and not empty)
    is missing.
    """

    read_freeze = None
    read_relay = None
    read_identity = None
    control = None
    echo = None

    def __init__(
        self,
        app: str,
        registers: Sequence[str],
        values: Mapping[str, Quantity] | None = None,
        reporters: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._registers = tuple(registers)
        self._values = dict(values or {})
        self._answers = f"database/get/response/{app}/realtime"
        self.subscriptions = (
            self._answers,
            *(f"{reporter}/notify/event/database/+/+" for reporter in reporters),
        )

    def read_registers(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        names = [*self._registers, *self._values]
        asked = {
            "dev": device,
            "totalcall": "0",
            "body": names,
        }
        payload = msgspec.json.encode(
            {
                "token": token,
                "timestamp": expires.isoformat(),
                "body": [asked],
            }
        )
        return Outgoing(f"{self._app}/get/request/database/realtime", payload, token)

    def presence(self, *, is_online: bool) -> None:
        """No device of this family asks whether we are there."""

    def is_control(self, topic: str, payload: bytes) -> bool:
        """Settings and actions; nothing here sends them."""
        return "/set/request/" in topic or "/action/request/" in topic

    def events(self, topic: str, payload: bytes) -> list[Event]:
        """See Family."""
        levels = topic.split("/")
        if topic == self._answers:
            return self._answer(topic, json_object(topic, payload))
        if levels[1:4] == ["notify", "event", "database"] and len(levels) == 6:
            content = json_object(topic, payload)
            return [self._report(topic, levels[5], _items(topic, content.get("body")), None)]
        return []

    def _answer(self, topic: str, content: dict[str, Any]) -> list[Event]:
        token = content.get("token")
        if not isinstance(token, str):
            raise FrameError(f"{topic}: token must be a string, not {token!r}")
        events: list[Event] = []
        for part in _items(topic, content.get("body")):
            device = part.get("dev")
            if not isinstance(device, str):
                raise FrameError(f"{topic}: dev must be a string, not {device!r}")
            items = _items(topic, part.get("body"))
            events.append(
                self._report(topic, device, items, token)
                if items
                else Answered(device, token, "no_data")
            )
        return events

    def _report(
        self,
        topic: str,
        device: str,
        items: Sequence[dict[str, Any]],
        token: str | None,
    ) -> Event:
        found: dict[str, tuple[object, object]] = {}
        for item in items:
            value = item.get("val")
            if value is not None and not isinstance(value, str):
                raise FrameError(
                    f"{topic}: val of {item.get('name')!r} must be a string, not {value!r}"
                )
            # Values are strings in this form; a bad one is there and does not count.
            is_good = item.get("quality") in (None, "", "0")
            found[str(item.get("name"))] = (value if is_good else None, item.get("timestamp"))
        registers = tuple(_energy(topic, name, found) for name in self._registers)
        values = {
            quantity: number(topic, name, found[name][0])
            for name, quantity in self._values.items()
            if name in found
        }
        device_time = found.get(self._registers[0], (None, None))[1]
        return RegisterReport(
            device,
            registers,
            values,
            wall_time(topic, "timestamp", device_time),
            token,
        )


def _energy(topic: str, name: str, found: Mapping[str, tuple[object, object]]) -> Decimal | None:
    return energy(topic, name, found[name][0]) if name in found else None


def _items(topic: str, body: object) -> list[dict[str, Any]]:
    if body is None:
        return []
    if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
        raise FrameError(f"{topic}: body must be a list of objects")
    return body
