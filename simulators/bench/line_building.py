"""Lines from the tables of a scenario: each with its bus, none of them open yet."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from protocols.channels.mqtt.broker_socket import Broker
from simulators.bench.tables import DialTable, LineTable, MqttTable
from simulators.lines.bus import SimulatedBus
from simulators.lines.dialled_terminals import SimulatedTerminal, TerminalSpec
from simulators.lines.mqtt_gateway import Flavour, SimulatedGateway
from simulators.lines.stream_lines import PtyLine, TcpLine

AnyLine = TcpLine | PtyLine | SimulatedGateway | SimulatedTerminal


def build_line(
    name: str,
    table: LineTable,
    bus: SimulatedBus,
) -> AnyLine:
    """The line of one table."""
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
