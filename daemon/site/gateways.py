"""How a line behind an MQTT broker is made of what is configured: a gateway, a transparent DTU."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from config.lines import LineSpec
from config.settings import BrokerSection, GatewaySection, MqttLine
from daemon.acquisition.broker_line import BrokerLine, BrokerParts
from daemon.acquisition.parts import LineParts
from protocols.channels import Channel
from protocols.channels.mqtt.broker_socket import Broker, Tls
from protocols.channels.mqtt.channel import MqttChannel
from protocols.mqtt.events import Family
from protocols.mqtt.own import OwnForm
from protocols.mqtt.shelly import Shelly
from protocols.mqtt.state_grid import StateGrid
from protocols.mqtt.tasmota import Tasmota
from protocols.mqtt.zigbee2mqtt import PREFIX as ZIGBEE2MQTT_PREFIX
from protocols.mqtt.zigbee2mqtt import Zigbee2Mqtt


def gateway_line(parts: LineParts, spec: LineSpec, section: GatewaySection) -> BrokerLine:
    """The line of a gateway that publishes what its meters told."""
    devices = {listed.meter.address: listed.meter.device for listed in spec.meters}
    names = [devices[meter.address] for meter in parts.meters]
    client_id = _client_id(spec)
    return BrokerLine(
        parts,
        BrokerParts(
            broker=broker_of(section.broker, client_id),
            family=_family(section, names, client_id),
            devices=devices,
            relays=spec.relays,
            reply_timeout_s=section.reply_timeout_s,
        ),
    )


def mqtt_channel(
    spec: LineSpec, mqtt: MqttLine
) -> Callable[[], AbstractAsyncContextManager[Channel]]:
    """What makes the channel of a DTU's line anew each time it is opened."""
    return partial(
        MqttChannel,
        broker_of(mqtt, _client_id(spec)),
        down=mqtt.down,
        up=mqtt.up,
        wrapping=mqtt.wrapping,
        field=mqtt.field,
    )


def _family(section: GatewaySection, names: list[str], client_id: str) -> Family:
    """The form in which a gateway speaks. `names`: what it calls its meters."""
    match section.family:
        case "meterd":
            return OwnForm(section.prefix, section.name)
        case "tasmota":
            return Tasmota(names, section.total)
        case "shelly":
            return Shelly(names, client_id, section.component)
        case "zigbee2mqtt":
            is_told = "prefix" in section.model_fields_set
            return Zigbee2Mqtt(names, section.prefix if is_told else ZIGBEE2MQTT_PREFIX)
        case "state-grid":
            return StateGrid(section.app, section.registers, reporters=section.reporters)


def broker_of(section: BrokerSection, client_id: str) -> Broker:
    """The broker as the channel wants it; `client_id` is used where the site names none."""
    tls = Tls(section.tls_ca, section.tls_certificate, section.tls_key) if section.tls_ca else None
    return Broker(
        section.host,
        section.port,
        section.client_id or client_id,
        version=section.version,
        user=section.user,
        password=section.password.reveal() if section.password else None,
        tls=tls,
    )


def _client_id(spec: LineSpec) -> str:
    """Who we are at a broker. It is part of topics, where some characters mean something else."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"meterd-{spec.site}-{spec.name}")
