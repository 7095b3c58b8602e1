"""Shelly, second generation: status topics, notifications and RPC by id; energy in Wh.

`{device}/events/rpc` notifies of what changed and when, `{device}/status/{component}` carries the
same without a time (`minute_ts` is the start of a minute, not
the time of the value), `{device}/online` is the last will. RPC goes to `{device}/rpc`, the answer
comes on `{source}/rpc` with the same id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from protocols.errors import FrameError
from protocols.mqtt.events import (
    Action,
    Answered,
    Event,
    IdentityReport,
    Outgoing,
    PresenceReport,
    RegisterReport,
    RelayReport,
)
from protocols.mqtt.foreign import WH_PER_KWH, energy, json_object, number, scaled, table, text
from protocols.reading import Quantity

_MEASURED = (
    ("total_act_power", Quantity.ACTIVE_POWER, -WH_PER_KWH),
    ("apower", Quantity.ACTIVE_POWER, -WH_PER_KWH),
    ("voltage", Quantity.VOLTAGE, 0),
    ("current", Quantity.CURRENT, 0),
)


METHODS: Final = {
    "emdata": "EMData.GetStatus",
    "em1data": "EM1Data.GetStatus",
    "pm1": "PM1.GetStatus",
    "switch": "Switch.GetStatus",
}
"""By the kind of a component: what asks for its status."""
TOTALS: Final = ("total_act", "total_act_energy")
"""What emdata and em1data call the energy; the others have `aenergy.total`."""


class Shelly:
    """The devices with these ids. `source` names us: answers come to `{source}/rpc`.

    `component` measures: `emdata:0` in meters of three phases, `em1data:0` and on in those of
    single phases, `pm1:0` in measuring modules, `switch:0` and on in relays that measure.
    RPC goes out with QoS 0, so that no broker keeps a trip for a device that is away.
    """

    read_freeze = None
    echo = None

    def __init__(self, devices: Sequence[str], source: str, component: str = "emdata:0") -> None:
        self._source = source
        self._component = component
        name, _, number_text = component.partition(":")
        self._method = METHODS[name]
        self._number = int(number_text or 0)
        self.subscriptions = (
            f"{source}/rpc",
            *(
                topic
                for device in devices
                for topic in (
                    f"{device}/status/{component}",
                    f"{device}/events/rpc",
                    f"{device}/online",
                )
            ),
        )

    def read_registers(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        return self._call(device, token, self._method, {"id": self._number})

    def read_relay(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        return self._call(device, token, "Switch.GetStatus", {"id": self._number})

    def read_identity(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family. A device has no serial number but the address of its radio."""
        return self._call(device, token, "Shelly.GetDeviceInfo", {})

    def control(
        self,
        device: str,
        action: Action,
        command_id: UUID,
        token: str,
        expires: datetime,
    ) -> Outgoing:
        """See Family."""
        return self._call(device, token, "Switch.Set", {"id": self._number, "on": action != "trip"})

    def presence(self, *, is_online: bool) -> None:
        """No device of this family asks whether we are there."""

    def is_control(self, topic: str, payload: bytes) -> bool:
        """Every RPC but those that only ask, and every message to a device's command topic."""
        # A method that cannot be read could be any: then it is held back.
        if topic.endswith("/rpc"):
            try:
                method = json_object(topic, payload).get("method")
            except FrameError:
                return True
            return not (isinstance(method, str) and ".Get" in method)
        return "/command" in topic

    def events(self, topic: str, payload: bytes) -> list[Event]:
        """See Family."""
        device, _, rest = topic.partition("/")
        if topic == f"{self._source}/rpc":
            return self._answer(topic, json_object(topic, payload))
        if rest == "online":
            if payload not in (b"true", b"false"):
                raise FrameError(f"{topic}: {payload[:40]!r} is neither true nor false")
            return [PresenceReport(device, payload == b"true")]
        if rest == "events/rpc":
            return self._notified(topic, device, json_object(topic, payload))
        if rest.startswith("status/"):
            return _component(topic, device, json_object(topic, payload))
        return []

    def _call(
        self,
        device: str,
        token: str,
        method: str,
        parameters: dict[str, Any],
    ) -> Outgoing:
        request = {
            "id": token,
            "src": self._source,
            "method": method,
            "params": parameters,
        }
        return Outgoing(f"{device}/rpc", msgspec.json.encode(request), token, 0)

    def _notified(self, topic: str, device: str, notice: dict[str, Any]) -> list[Event]:
        """NotifyStatus and NotifyFullStatus carry the component; NotifyEvent carries none."""
        content = table(topic, notice, "params")
        status = table(topic, content, self._component)
        if not status:
            return []
        device_time = _instant(topic, content.get("ts"))
        return _component(topic, device, status, device_time=device_time)

    def _answer(self, topic: str, answer: dict[str, Any]) -> list[Event]:
        device = answer.get("src")
        token = answer.get("id")
        if not isinstance(device, str) or not isinstance(token, str):
            return []
        if answer.get("error") is not None:
            error = table(topic, answer, "error")
            return [
                Answered(
                    device, token, "refused", f"{error.get('message', '')} ({error.get('code')})"
                )
            ]
        result = table(topic, answer, "result")
        if "mac" in result:
            return [IdentityReport(device, text(topic, "mac", result["mac"]), token=token)]
        return _component(topic, device, result, token=token) or [
            Answered(device, token, "accepted")
        ]


def _component(
    topic: str,
    device: str,
    status: dict[str, Any],
    *,
    token: str | None = None,
    device_time: datetime | None = None,
) -> list[Event]:
    """What the status of a component holds: registers, the relay, or both."""
    events: list[Event] = []
    name = next((name for name in TOTALS if name in status), None)
    total = status[name] if name else table(topic, status, "aenergy").get("total")
    if total is not None:
        values = {
            quantity: scaled(number(topic, name, status[name]), exponent)
            for name, quantity, exponent in _MEASURED
            if name in status
        }
        # All components count Wh; Tasmota counts kWh.
        kwh = energy(topic, "energy", total, -WH_PER_KWH)
        events.append(
            RegisterReport(
                device,
                (kwh,),
                values,
                device_time,
                token,
            )
        )
    is_closed = status.get("output")
    if isinstance(is_closed, bool):
        # A device does not tell its last command apart from where its relay is.
        events.append(RelayReport(device, not is_closed, not is_closed, token=token))
    return events


def _instant(topic: str, seconds: object) -> datetime | None:
    """Seconds since 1970; None from a device that does not know the time yet."""
    since_1970 = number(topic, "ts", seconds)
    try:
        return None if since_1970 is None else datetime.fromtimestamp(float(since_1970), UTC)
    except (OverflowError, ValueError, OSError):
        raise FrameError(f"{topic}: ts is no time: {seconds!r}") from None
