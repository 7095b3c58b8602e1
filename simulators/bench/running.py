"""A scenario that runs: its lines are open, and a control port answers and changes what goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import cast

from protocols.channels.mqtt.broker_socket import Broker
from protocols.errors import MeterdError
from simulators.bench.control_port import AnyLine, ControlPort, EventLog
from simulators.bench.scenario import Scenario, site_clock
from simulators.bench.tables import DialTable, LineTable, MqttTable
from simulators.lines.bus import SimulatedBus
from simulators.lines.dialled_terminals import SimulatedTerminal, TerminalSpec
from simulators.lines.mqtt_gateway import Flavour, SimulatedGateway
from simulators.lines.stream_lines import PtyLine, TcpLine
from simulators.state.meter import MeterState


class BenchNotOpened(MeterdError):
    """A port or a link of the bench is taken, or may not be used. The one who starts it acts."""


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
        self.control_port = control_port
        """0 becomes the port that was taken."""
        self.log = EventLog()
        self.lines: dict[str, AnyLine] = {}
        self.meters: dict[str, MeterState] = {}
        """By the address that each had at the start."""
        for name, bus in scenario.build(self.now, self.log.remember).items():
            self.lines[name] = _line(
                name,
                scenario.lines[name],
                bus,
            )
            for address, meter in bus.meters.items():
                self.meters[address] = meter.state
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Bench:
        try:
            for name, line in self.lines.items():
                with _naming(f"line {name}", line.place):
                    await line.open()
                self._open.push_async_callback(line.close)
            control = ControlPort(
                now=self.now,
                lines=self.lines,
                meters=self.meters,
                log=self.log,
            )
            with _naming("the control port", self.control_port):
                self.control_port = await control.open(self.control_port)
            self._open.push_async_callback(control.close)
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()


@contextmanager
def _naming(what: str, where: object) -> Iterator[None]:
    """A place that is taken is an error with its name."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise BenchNotOpened(f"{what} cannot be opened at {where}: {reason}") from error


def _line(
    name: str,
    table: LineTable,
    bus: SimulatedBus,
) -> AnyLine:
    if table.mqtt is not None:
        return _gateway(name, table.mqtt, bus)
    if table.dial is not None:
        return _terminal(table.dial, table.baud, bus)
    if table.port is not None:
        return TcpLine(
            bus,
            host=table.host,
            port=table.port,
            baud=table.baud,
        )
    assert table.link is not None
    return PtyLine(
        bus,
        link=Path(table.link),
        baud=table.baud,
    )


def _gateway(
    name: str,
    table: MqttTable,
    bus: SimulatedBus,
) -> SimulatedGateway:
    broker = Broker(
        table.host,
        table.port,
        client_id=f"simulated-{name}",
        version=table.version,
        user=table.user,
        password=table.password,
    )
    return SimulatedGateway(
        bus,
        broker,
        flavour=cast(Flavour, table.flavour),
        prefix=table.prefix,
        name=name,
        wrapping=table.wrapping,
    )


def _terminal(
    table: DialTable,
    baud: int | None,
    bus: SimulatedBus,
) -> SimulatedTerminal:
    spec = TerminalSpec(
        registration=table.registration,
        heartbeat=table.heartbeat,
        heartbeat_s=float(table.heartbeat_s),
        reconnect_s=float(table.reconnect_s),
    )
    return SimulatedTerminal(
        bus,
        table.host,
        table.port,
        spec,
        baud=baud,
    )
