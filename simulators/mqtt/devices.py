"""Devices of other makers that are one meter each: Tasmota and Shelly. No I/O."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from protocols.errors import MeterRefused
from simulators.mqtt.form import Meters, Publication, Switch, clock_skew_s
from simulators.state.meter import Freeze, MeterState

TASMOTA_PREFIX: Final = "tasmota-"
SHELLY_PREFIX: Final = "shellyplus1pm-"
"""What a device is called in topics: this and the meter's address."""
_NO_HANDLER: Final = 404
_JSON: Final = msgspec.json.Encoder(decimal_format="number")


class TasmotaForm:
    """Sockets with Tasmota: cmnd/, stat/ and tele/ topics."""

    def __init__(self, meters: Meters, switch: Switch) -> None:
        self._meters = meters
        self._switch = switch

    def topics(self) -> list[str]:
        """The commands of all devices."""
        return [f"cmnd/{TASMOTA_PREFIX}{address}/+" for address in self._meters]

    def answers(
        self,
        topic: str,
        payload: bytes,
        *,
        retained: bool,
    ) -> list[Publication]:
        """The energy after STATUS 8, who it is after STATUS 5, the relay after POWER."""
        _, device, command = topic.split("/")
        address = device.removeprefix(TASMOTA_PREFIX)
        meter = self._meters[address]
        if command == "STATUS" and payload == b"8":
            status = _JSON.encode({"StatusSNS": _tasmota_sensor(meter)})
            return [Publication(f"stat/{device}/STATUS8", status)]
        if command == "STATUS" and payload == b"5":
            status = _JSON.encode({"StatusNET": {"Mac": _mac(meter)}})
            return [Publication(f"stat/{device}/STATUS5", status)]
        if command != "POWER":
            return []
        if payload in (b"ON", b"OFF"):
            with suppress(MeterRefused):
                self._switch(address, "trip" if payload == b"OFF" else "close")
        meter.settle()
        state = b"OFF" if meter.relay.is_open else b"ON"
        return [
            Publication(f"stat/{device}/RESULT", b'{"POWER":"%s"}' % state),
            Publication(f"stat/{device}/POWER", state),
        ]

    def pushed(self, meter: MeterState, freeze: Freeze) -> list[Publication]:
        """The register of now: a device has no freezes."""
        topics = f"tele/{TASMOTA_PREFIX}{meter.address}"
        sensor = _JSON.encode(_tasmota_sensor(meter))
        return [Publication(f"{topics}/LWT", b"Online"), Publication(f"{topics}/SENSOR", sensor)]


class ShellyForm:
    """Shelly devices of the second generation: JSON-RPC below the name of each."""

    def __init__(self, meters: Meters, switch: Switch) -> None:
        self._meters = meters
        self._switch = switch

    def topics(self) -> list[str]:
        """The calls of all devices."""
        return [f"{SHELLY_PREFIX}{address}/rpc" for address in self._meters]

    def answers(
        self,
        topic: str,
        payload: bytes,
        *,
        retained: bool,
    ) -> list[Publication]:
        """The result of one call, where its caller listens."""
        device = topic.partition("/")[0]
        request = msgspec.json.decode(payload)
        answer: dict[str, Any] = {
            "id": request["id"],
            "src": device,
            "dst": request["src"],
        }
        address = device.removeprefix(SHELLY_PREFIX)
        match request["method"]:
            case "Switch.GetStatus":
                answer["result"] = _shelly_switch(self._meters[address])
            case "Shelly.GetDeviceInfo":
                answer["result"] = {"id": device, "mac": self._meters[address].serial}
            case "Switch.Set":
                answer["result"] = self._set(address, on=request["params"]["on"])
            case unknown:
                answer["error"] = {"code": _NO_HANDLER, "message": f"No handler for {unknown}"}
        return [Publication(f"{request['src']}/rpc", _JSON.encode(answer))]

    def pushed(self, meter: MeterState, freeze: Freeze) -> list[Publication]:
        """The register of now: a device has no freezes."""
        device = f"{SHELLY_PREFIX}{meter.address}"
        status = _shelly_switch(meter)
        sent_at = Decimal(f"{datetime.now(UTC).timestamp():.2f}")
        notice = {
            "src": device,
            "dst": f"{device}/events",
            "method": "NotifyStatus",
            "params": {
                "ts": sent_at + clock_skew_s(meter, meter.now()),
                "switch:0": status,
            },
        }
        return [
            Publication(f"{device}/online", b"true"),
            Publication(f"{device}/status/switch:0", _JSON.encode(status)),
            Publication(f"{device}/events/rpc", _JSON.encode(notice)),
        ]

    def _set(self, address: str, *, on: bool) -> dict[str, bool]:
        meter = self._meters[address]
        meter.settle()
        was_on = not meter.relay.is_open
        with suppress(MeterRefused):
            self._switch(address, "close" if on else "trip")
        return {"was_on": was_on}


def _mac(meter: MeterState) -> str:
    """The address of its radio, which no other device has."""
    serial = meter.serial
    return ":".join(serial[at : at + 2] for at in range(0, len(serial), 2))


def _tasmota_sensor(meter: MeterState) -> dict[str, Any]:
    now = meter.now()
    total_kwh = meter.true_register(now)
    shown = meter.clock.shows(now)
    energy = {
        "Total": total_kwh,
        "Power": meter.power_mw(now) // 1000,
        "Voltage": int(meter.spec.voltage_v),
    }
    return {
        "Time": shown.isoformat(timespec="seconds"),
        "ENERGY": energy,
    }


def _shelly_switch(meter: MeterState) -> dict[str, Any]:
    now = meter.settle()
    total_wh = meter.true_register(now) * 1000
    return {
        "id": 0,
        "output": not meter.relay.is_open,
        "apower": Decimal(meter.power_mw(now)).scaleb(-3),
        "voltage": meter.spec.voltage_v,
        "aenergy": {"total": total_wh},
    }
