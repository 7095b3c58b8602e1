"""The control port of a running bench.

JSON lines: one object with `do` in, one object with `ok` out. `remote.py` is its client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from typing import Any, Final

from config.problems import did_you_mean
from simulators.bench.change_tables import CHANGES
from simulators.bench.facts import frozen_registers, meter_facts, relay_word
from simulators.bench.stage import BadRequest, Stage
from simulators.state.meter import MeterState

CONTROL_HOST: Final = "127.0.0.1"
METERS_AT_ONCE: Final = 50
"""Number of meters whose truth is found before the lines have their turn again."""

Request = dict[str, Any]
Answer = dict[str, Any]
Do = Callable[[str, Request], Awaitable[Answer]]
"""Does a change with its keys. BadRequest; OSError of a line that cannot be opened."""


class ControlPort:
    """Serves any number of clients: questions by itself, changes by `do`.

    `meters` are called by the address that each had at the start."""

    def __init__(self, stage: Stage, do: Do) -> None:
        self._stage = stage
        self._do = do
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
            request = json.loads(text, parse_float=Decimal)
            name = request.pop("do", None) if isinstance(request, dict) else None
            if name in CHANGES:
                return {"ok": True, **await self._do(name, request)}
            question = self._QUESTIONS.get(name)
            if question is None:
                names = [*self._QUESTIONS, *CHANGES]
                hint = did_you_mean(str(name), names)
                raise BadRequest(f"do must be one of {', '.join(names)}{hint}")
            return {"ok": True, **await question(self, request)}
        except BadRequest as error:
            return _error(str(error))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            return _error(f"not JSON: {error}")
        except OSError as error:
            return _error(f"the line cannot be opened: {error}")

    async def _state(self, request: Request) -> Answer:
        lines = {}
        for name, line in self._stage.lines.items():
            lines[name] = {"place": line.place, "cut": line.is_cut}
        return {
            "now": self._stage.now().isoformat(),
            "lines": lines,
            "meters": len(self._stage.meters),
            "events": self._stage.log.count,
        }

    async def _meter(self, request: Request) -> Answer:
        return meter_facts(self._asked_meter(request), self._stage.now())

    async def _truth(self, request: Request) -> Answer:
        """For each meter its frozen registers by the date of their stamp, and the relay."""
        asked = list(self._stage.meters.values())
        if "address" in request:
            asked = [self._asked_meter(request)]
        truth: dict[str, Any] = {}
        for number, meter in enumerate(asked, 1):
            freezes = frozen_registers(meter, self._stage.now())
            truth[meter.address] = {"relay": relay_word(meter), "freezes": freezes}
            if number % METERS_AT_ONCE == 0:
                await asyncio.sleep(0)
            if self._is_closing:
                raise BadRequest("the bench is closing")
        return {"truth": truth}

    async def _events(self, request: Request) -> Answer:
        """Events after number `since`, oldest first; relays that are due to move do so first."""
        for meter in self._stage.meters.values():
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
            for number, event in self._stage.log.since(since)
        ]
        return {"events": events}

    async def _diagnosis(self, request: Request) -> Answer:
        """What the masters of the lines did wrong so far."""
        return {"findings": [it.as_json() for it in self._stage.diagnosis.findings()]}

    def _asked_meter(self, request: Request) -> MeterState:
        return self._stage.meter(str(request.get("address", "")))

    _QUESTIONS: Final[dict[Any, _Question]] = {
        "state": _state,
        "meter": _meter,
        "truth": _truth,
        "events": _events,
        "diagnosis": _diagnosis,
    }


_Question = Callable[[ControlPort, Request], Coroutine[Any, Any, Answer]]


def _error(message: str) -> Answer:
    return {"ok": False, "error": message}
