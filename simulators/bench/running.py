"""A scenario that runs: its lines are open, and a control port tells and changes what goes on.

The control port speaks JSON lines: one object with `do` in, one object with `ok` out. `remote.py`
is its client."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from protocols.channels.mqtt.broker_socket import Broker
from protocols.errors import MeterdError
from simulators.bench.scenario import Scenario, site_clock
from simulators.bench.tables import LineTable
from simulators.lines.bus import SimulatedBus
from simulators.lines.dialled_terminals import SimulatedTerminal
from simulators.lines.stream_lines import Cut, PtyLine, TcpLine
from simulators.mqtt.gateway import Flavour, SimulatedGateway
from simulators.state.meter import MeterEvent, SimulatedMeter
from simulators.state.relay import RelayRefused

CONTROL_HOST: Final = "127.0.0.1"
EVENTS_KEPT: Final = 100_000
METERS_AT_ONCE: Final = 50
"""So many meters are told of before the lines have their turn again."""

AnyLine = TcpLine | PtyLine | SimulatedGateway | SimulatedTerminal


class BenchNotOpened(MeterdError):
    """A port or a link of the bench is taken, or may not be used. Whoever starts it acts."""


class BadRequest(Exception):
    """The control port was asked for something that there is not."""


class Bench:
    """All lines of a scenario, and what happened on them. Use as an async context manager."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        control_port: int = 0,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.now = now or site_clock(scenario.zone)
        self.events: deque[tuple[int, MeterEvent]] = deque(maxlen=EVENTS_KEPT)
        self._event_count = 0
        buses = scenario.build(self.now, self._remember)
        self.lines = {
            name: _line(name, table, buses[name]) for name, table in scenario.lines.items()
        }
        self.meters: dict[str, SimulatedMeter] = {}
        self.line_of: dict[str, str] = {}
        for name, bus in buses.items():
            self.meters |= bus.meters
            self.line_of |= dict.fromkeys(bus.meters, name)
        self.control_port = control_port
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._is_closing = False
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Bench:
        try:
            for name, line in self.lines.items():
                with _saying(f"line {name}", line.place):
                    await line.open()
                self._open.push_async_callback(line.close)
            with _saying("the control port", self.control_port):
                server = await asyncio.start_server(
                    self._serve_control, CONTROL_HOST, self.control_port
                )
            self._open.push_async_callback(self._let_clients_go)
            self._open.callback(server.close)
            self.control_port = server.sockets[0].getsockname()[1]
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def _let_clients_go(self) -> None:
        """Each client's task ends by itself; a cancelled one would be told of as an error."""
        self._is_closing = True
        for writer in self._clients.values():
            writer.transport.abort()
        await asyncio.gather(*self._clients)

    def _remember(self, event: MeterEvent) -> None:
        self._event_count += 1
        self.events.append((self._event_count, event))

    async def _serve_control(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = writer
        try:
            while text := await reader.readline():
                writer.write(
                    json.dumps(await self._answer(text), separators=(",", ":")).encode() + b"\n"
                )
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the client went away, or sent a line without end
        finally:
            del self._clients[task]
            writer.close()

    async def _answer(self, text: bytes) -> dict[str, Any]:
        try:
            request = json.loads(text)
            do = self._ACTIONS.get(request.get("do") if isinstance(request, dict) else None)
            if do is None:
                raise BadRequest(f"do must be one of {', '.join(self._ACTIONS)}")
            return {"ok": True, **await do(self, request)}
        except BadRequest as error:
            return {"ok": False, "error": str(error)}
        except RelayRefused:
            return {"ok": False, "error": "this meter has no relay"}
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        except OSError as error:
            return {"ok": False, "error": f"the line cannot be opened: {error}"}

    async def _state(self, request: dict[str, Any]) -> dict[str, Any]:
        lines = {
            name: {"place": line.place, "cut": line.is_cut} for name, line in self.lines.items()
        }
        return {
            "now": self.now().isoformat(),
            "lines": lines,
            "meters": len(self.meters),
            "events": self._event_count,
        }

    async def _cut(self, request: dict[str, Any]) -> dict[str, Any]:
        line = self._line(request)
        how = request.get("how")
        if how not in (None, "hang_up", "silence"):
            raise BadRequest("how must be hang_up or silence")
        kind: Cut = how or (
            "hang_up" if isinstance(line, TcpLine | SimulatedTerminal) else "silence"
        )
        await line.cut(kind)
        return {}

    async def _mend(self, request: dict[str, Any]) -> dict[str, Any]:
        await self._line(request).mend()
        return {}

    async def _meter(self, request: dict[str, Any]) -> dict[str, Any]:
        return meter_state(self._asked_meter(request), self.now())

    async def _truth(self, request: dict[str, Any]) -> dict[str, Any]:
        """For each meter its frozen registers by the date of their stamp, and the relay."""
        meters = (
            [self._asked_meter(request)] if "address" in request else list(self.meters.values())
        )
        truth: dict[str, Any] = {}
        for start in range(0, len(meters), METERS_AT_ONCE):
            for meter in meters[start : start + METERS_AT_ONCE]:
                now = self.now()
                freezes = frozen_registers(meter, now)
                truth[meter.address] = {"relay": _relay_word(meter), "freezes": freezes}
            await asyncio.sleep(0)
            if self._is_closing:
                raise BadRequest("the bench is closing")
        return {"truth": truth}

    async def _events(self, request: dict[str, Any]) -> dict[str, Any]:
        """Events after number `since`, oldest first; relays that are due to move do so first."""
        for meter in self.meters.values():
            meter.settle()
        since = request.get("since", 0)
        if not isinstance(since, int):
            raise BadRequest("since must be a number")
        events = [
            {
                "number": number,
                "at": event.at.isoformat(),
                "address": event.address,
                "kind": event.kind,
                **event.detail,
            }
            for number, event in self.events
            if number > since
        ]
        return {"events": events}

    async def _press_button(self, request: dict[str, Any]) -> dict[str, Any]:
        meter = self._asked_meter(request)
        meter.press_button()
        return meter_state(meter, self.now())

    async def _force_relay(self, request: dict[str, Any]) -> dict[str, Any]:
        state = request.get("state")
        if state not in ("open", "closed"):
            raise BadRequest("state must be open or closed")
        meter = self._asked_meter(request)
        meter.force_relay(to_open=state == "open")
        return meter_state(meter, self.now())

    def _line(self, request: dict[str, Any]) -> AnyLine:
        try:
            return self.lines[request.get("line", "")]
        except (KeyError, TypeError):
            raise BadRequest(f"line must be one of {', '.join(self.lines)}") from None

    def _asked_meter(self, request: dict[str, Any]) -> SimulatedMeter:
        try:
            return self.meters[request.get("address", "")]
        except (KeyError, TypeError):
            raise BadRequest("there is no meter with this address") from None

    _ACTIONS: Final[
        dict[Any, Callable[[Bench, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]]
    ] = {
        "state": _state,
        "cut": _cut,
        "mend": _mend,
        "meter": _meter,
        "truth": _truth,
        "events": _events,
        "press_button": _press_button,
        "force_relay": _force_relay,
    }


@contextmanager
def _saying(what: str, where: object) -> Iterator[None]:
    """A place that is taken is told with its name."""
    try:
        yield
    except OSError as error:
        raise BenchNotOpened(
            f"{what} cannot be opened at {where}: {error.strerror or error}"
        ) from error


def meter_state(meter: SimulatedMeter, at: datetime) -> dict[str, Any]:
    """What is true of a meter now, as JSON: register, relay, clock."""
    meter.settle()
    return {
        "address": meter.address,
        "register": str(meter.true_register(at)),
        "relay": _relay_word(meter),
        "command": "open" if meter.relay.command_open else "closed",
        "clock": meter.clock.shows(at).isoformat(),
        "moves": len(meter.relay.moves),
    }


def frozen_registers(meter: SimulatedMeter, at: datetime) -> dict[str, str]:
    """The daily freezes that the meter remembers: date of the stamp -> forward active total in
    kWh."""
    return {
        freeze.stamp.date().isoformat(): str(meter.true_register(freeze.at))
        for freeze in meter.daily_freezes(at)
    }


def _relay_word(meter: SimulatedMeter) -> str:
    return "open" if meter.relay.is_open else "closed"


def _line(name: str, table: LineTable, bus: SimulatedBus) -> AnyLine:
    if table.mqtt is not None:
        where = table.mqtt
        client_id = f"simulated-{name}"
        broker = Broker(
            where.host,
            where.port,
            client_id,
            where.version,
            where.user,
            where.password,
        )
        flavour, wrapping = cast(Flavour, where.flavour), where.wrapping
        return SimulatedGateway(
            bus,
            broker,
            flavour=flavour,
            prefix=where.prefix,
            name=name,
            wrapping=wrapping,
        )
    if table.dial is not None:
        dial = table.dial
        return SimulatedTerminal(
            *(bus, dial.host, dial.port, dial.registration),
            heartbeat=dial.heartbeat,
            heartbeat_s=float(dial.heartbeat_s),
            reconnect_s=float(dial.reconnect_s),
            baud=table.baud,
        )
    if table.port is not None:
        return TcpLine(
            bus,
            host=table.host,
            port=table.port,
            baud=table.baud,
        )
    assert table.link is not None
    return PtyLine(bus, link=Path(table.link), baud=table.baud)
