"""Asks a running `meterd simulate` what is true, and lets things happen to its lines and meters."""

from __future__ import annotations

import json
import socket
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from protocols.errors import MeterdError

How = Literal["hang_up", "silence"]
Facts = dict[str, Any]
"""The answer of the control port, as JSON."""
RegistersKwh = dict[date, Decimal]
"""By the date of their freeze."""


class BenchRefused(MeterdError):
    """The simulated bench would not or could not do what was asked."""


class RemoteBench:
    """The client of the control port.

    Blocking; use as a context manager. OSError when the bench is gone."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float = 30.0,
    ) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout_s)
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> RemoteBench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The bench goes on without us."""
        self._answers.close()
        self._socket.close()

    def state(self) -> Facts:
        """`now`, `lines` (name -> place, cut), number of `meters` and of `events`."""
        return self._ask("state")

    def cut(self, line: str, how: How | None = None) -> None:
        """Take a line away; without `how` TCP hangs up and a pseudo-terminal falls silent."""
        self._ask("cut", line=line, how=how)

    def mend(self, line: str) -> None:
        """The line works again."""
        self._ask("mend", line=line)

    def meter(self, address: str) -> Facts:
        """What is true of a meter now.

        `serial`, `register` (kWh as string), `relay` and `command` (open, closed), `clock`,
        `moves` of the relay."""
        return self._ask("meter", address=address)

    def relay_is_open(self, address: str) -> bool:
        """Where the relay of a meter is in truth."""
        return bool(self.meter(address)["relay"] == "open")

    def truth(self, address: str | None = None) -> dict[str, RegistersKwh]:
        """The frozen registers that each meter (or one) remembers.

        Address -> date of the stamp -> kWh."""
        asked = {"address": address} if address else {}
        answer = self._ask("truth", **asked)
        truth = {}
        for meter, found in answer["truth"].items():
            truth[meter] = _by_date(found["freezes"])
        return truth

    def events(self, since: int = 0) -> list[Facts]:
        """What happened after event `since`.

        `number`, `at`, `address`, `kind` and what belongs to the kind."""
        events: list[Facts] = self._ask("events", since=since)["events"]
        return events

    def diagnosis(self) -> list[Facts]:
        """What the masters of the lines did wrong so far.

        `line`, `kind`, `count`, `first_at`, `last_at`, `detail`, `example`, `advice`."""
        findings: list[Facts] = self._ask("diagnosis")["findings"]
        return findings

    def press_button(self, address: str) -> Facts:
        """The customer holds the button of the relay; the meter's state after it."""
        return self._ask("press_button", address=address)

    def force_relay(self, address: str, state: Literal["open", "closed"]) -> Facts:
        """Move the relay as another tool would; the meter's state after it."""
        return self._ask("force_relay", address=address, state=state)

    def exchange(self, address: str, serial: str, initial_kwh: str = "0") -> Facts:
        """Put another meter behind an address; its state after it."""
        return self._ask("exchange", address=address, serial=serial, initial_kwh=initial_kwh)

    def fault_on(self, kind: str, **what: Any) -> None:
        """From now on this goes wrong at `line` or `address`.

        With `every_request`, `chance`, `delay_ms` as in a scenario."""
        self._ask("fault_on", kind=kind, **what)

    def fault_off(self, kind: str | None = None, **what: Any) -> None:
        """This kind, or nothing, goes wrong at `line` or `address` any more."""
        self._ask("fault_off", kind=kind, **what)

    def clock(self, address: str, **how: Any) -> Facts:
        """The meter's clock: `set` to an ISO time, moved `by_s`, from now on `drift_s_per_day`."""
        return self._ask("clock", address=address, **how)

    def register(self, address: str, **how: str) -> Facts:
        """The forward active register: `set_kwh`, or `jump_kwh`."""
        return self._ask("register", address=address, **how)

    def power(self, state: Literal["on", "off"], **place: str) -> None:
        """Supply of the meter itself, at `line` or `address`."""
        self._ask("power", state=state, **place)

    def reply_delay(self, ms: int | tuple[int, int], **place: str) -> None:
        """How long a meter (`address`) or all meters of a `line` think."""
        self._ask("reply_delay", ms=ms, **place)

    def add_meter(self, line: str, address: str, **keys: Any) -> None:
        """Another meter, with the keys of [[meters]]."""
        self._ask("add_meter", line=line, address=address, **keys)

    def remove_meter(self, address: str) -> None:
        """The meter is taken away."""
        self._ask("remove_meter", address=address)

    def do(self, name: str, **keys: Any) -> Facts:
        """Anything that the control port knows. BenchRefused."""
        return self._ask(name, **keys)

    def _ask(self, do: str, **what: Any) -> Facts:
        request = json.dumps({"do": do, **what})
        self._socket.sendall(request.encode() + b"\n")
        line = self._answers.readline()
        if not line:
            raise ConnectionError("the bench hung up")
        answer: Facts = json.loads(line)
        if not answer.pop("ok"):
            raise BenchRefused(f"{do}: {answer['error']}")
        return answer


def _by_date(freezes: dict[str, str]) -> RegistersKwh:
    registers = {}
    for day, kwh in freezes.items():
        registers[date.fromisoformat(day)] = Decimal(kwh)
    return registers
