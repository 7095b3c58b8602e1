"""The control port of a running bench.

JSON lines: one object with `do` in, one object with `ok` out. `remote.py` is its client."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from simulators.lines.dialled_terminals import SimulatedTerminal
from simulators.lines.mqtt_gateway import SimulatedGateway
from simulators.lines.stream_lines import Cut, PtyLine, TcpLine
from simulators.state.meter import MeterEvent, MeterState
from simulators.state.relay import RelayRefused

CONTROL_HOST: Final = "127.0.0.1"
EVENTS_KEPT: Final = 100_000
METERS_AT_ONCE: Final = 50
"""Number of meters whose truth is found before the lines have their turn again."""

AnyLine = TcpLine | PtyLine | SimulatedGateway | SimulatedTerminal
Request = dict[str, Any]
Answer = dict[str, Any]


class BadRequest(Exception):
    """The control port was asked for something that there is not."""


class EventLog:
    """What happened to the meters of a bench, numbered from 1; the newest are kept."""

    def __init__(self) -> None:
        self.count = 0
        self._events: deque[tuple[int, MeterEvent]] = deque(maxlen=EVENTS_KEPT)

    def remember(self, event: MeterEvent) -> None:
        """One more event."""
        self.count += 1
        self._events.append((self.count, event))

    def since(self, number: int) -> list[tuple[int, MeterEvent]]:
        """Those after that number, oldest first."""
        return [(own, event) for own, event in self._events if own > number]


class ControlPort:
    """Serves any number of clients.

    `meters` are called by the address that each had at the start."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        lines: Mapping[str, AnyLine],
        meters: Mapping[str, MeterState],
        log: EventLog,
    ) -> None:
        self._now = now
        self._lines = lines
        self._meters = meters
        self._log = log
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._is_closing = False

    async def open(self, port: int) -> int:
        """The port that was taken; 0 takes a free one. OSError."""
        self._server = await asyncio.start_server(self._serve, CONTROL_HOST, port)
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def close(self) -> None:
        """No listener, no client."""
        if self._server is not None:
            self._server.close()
        # Each client's task ends by itself; a cancelled one would be reported as an error.
        self._is_closing = True
        for writer in self._clients.values():
            writer.transport.abort()
        await asyncio.gather(*self._clients)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = writer
        try:
            while text := await reader.readline():
                answer = await self._answer(text)
                line = json.dumps(answer, separators=(",", ":"))
                writer.write(line.encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the client went away, or sent a line without end
        finally:
            del self._clients[task]
            writer.close()

    async def _answer(self, text: bytes) -> Answer:
        try:
            request = json.loads(text)
            name = request.get("do") if isinstance(request, dict) else None
            action = self._ACTIONS.get(name)
            if action is None:
                raise BadRequest(f"do must be one of {', '.join(self._ACTIONS)}")
            return {"ok": True, **await action(self, request)}
        except BadRequest as error:
            return _error(str(error))
        except RelayRefused:
            return _error("this meter has no relay")
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            return _error(f"not JSON: {error}")
        except OSError as error:
            return _error(f"the line cannot be opened: {error}")

    async def _state(self, request: Request) -> Answer:
        lines = {}
        for name, line in self._lines.items():
            lines[name] = {"place": line.place, "cut": line.is_cut}
        return {
            "now": self._now().isoformat(),
            "lines": lines,
            "meters": len(self._meters),
            "events": self._log.count,
        }

    async def _cut(self, request: Request) -> Answer:
        line = self._line(request)
        how = request.get("how")
        if how not in (None, "hang_up", "silence"):
            raise BadRequest("how must be hang_up or silence")
        hangs_up = isinstance(line, TcpLine | SimulatedTerminal)
        usual: Cut = "hang_up" if hangs_up else "silence"
        await line.cut(how or usual)
        return {}

    async def _mend(self, request: Request) -> Answer:
        await self._line(request).mend()
        return {}

    async def _meter(self, request: Request) -> Answer:
        return meter_facts(self._asked_meter(request), self._now())

    async def _truth(self, request: Request) -> Answer:
        """For each meter its frozen registers by the date of their stamp, and the relay."""
        asked = list(self._meters.values())
        if "address" in request:
            asked = [self._asked_meter(request)]
        truth: dict[str, Any] = {}
        for number, meter in enumerate(asked, 1):
            freezes = frozen_registers(meter, self._now())
            truth[meter.address] = {"relay": _relay_word(meter), "freezes": freezes}
            if number % METERS_AT_ONCE == 0:
                await asyncio.sleep(0)
            if self._is_closing:
                raise BadRequest("the bench is closing")
        return {"truth": truth}

    async def _events(self, request: Request) -> Answer:
        """Events after number `since`, oldest first; relays that are due to move do so first."""
        for meter in self._meters.values():
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
            for number, event in self._log.since(since)
        ]
        return {"events": events}

    async def _press_button(self, request: Request) -> Answer:
        meter = self._asked_meter(request)
        meter.press_button()
        return meter_facts(meter, self._now())

    async def _force_relay(self, request: Request) -> Answer:
        state = request.get("state")
        if state not in ("open", "closed"):
            raise BadRequest("state must be open or closed")
        meter = self._asked_meter(request)
        meter.force_relay(to_open=state == "open")
        return meter_facts(meter, self._now())

    async def _exchange(self, request: Request) -> Answer:
        """Another meter takes the place of this one, behind the same address."""
        meter = self._asked_meter(request)
        serial = request.get("serial")
        if not isinstance(serial, str) or len(serial) != len(meter.serial) or not serial.isdigit():
            raise BadRequest(f"serial must be {len(meter.serial)} digits in quotes")
        try:
            initial_kwh = Decimal(request.get("initial_kwh", "0"))
        except (ArithmeticError, TypeError, ValueError):
            raise BadRequest('initial_kwh must be a number in quotes, such as "12.34"') from None
        meter.exchange(serial, initial_kwh)
        return meter_facts(meter, self._now())

    def _line(self, request: Request) -> AnyLine:
        try:
            return self._lines[request.get("line", "")]
        except (KeyError, TypeError):
            raise BadRequest(f"line must be one of {', '.join(self._lines)}") from None

    def _asked_meter(self, request: Request) -> MeterState:
        try:
            return self._meters[request.get("address", "")]
        except (KeyError, TypeError):
            raise BadRequest("there is no meter with this address") from None

    _ACTIONS: Final[dict[Any, _Action]] = {
        "state": _state,
        "cut": _cut,
        "mend": _mend,
        "meter": _meter,
        "truth": _truth,
        "events": _events,
        "press_button": _press_button,
        "force_relay": _force_relay,
        "exchange": _exchange,
    }


_Action = Callable[[ControlPort, Request], Coroutine[Any, Any, Answer]]


def meter_facts(meter: MeterState, at: datetime) -> dict[str, Any]:
    """What is true of a meter now, as JSON: register, relay, clock."""
    meter.settle()
    return {
        "address": meter.address,
        "serial": meter.serial,
        "register": str(meter.true_register(at)),
        "relay": _relay_word(meter),
        "command": "open" if meter.relay.command_open else "closed",
        "clock": meter.clock.shows(at).isoformat(),
        "moves": len(meter.relay.moves),
    }


def frozen_registers(meter: MeterState, at: datetime) -> dict[str, str]:
    """The daily freezes that the meter remembers.

    Date of the stamp -> forward active total in kWh."""
    registers = {}
    for freeze in meter.daily_freezes(at):
        day = freeze.stamp.date().isoformat()
        registers[day] = str(meter.true_register(freeze.at))
    return registers


def _relay_word(meter: MeterState) -> str:
    return "open" if meter.relay.is_open else "closed"


def _error(message: str) -> Answer:
    return {"ok": False, "error": message}
