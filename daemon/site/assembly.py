"""How a line or a gateway is made of what is configured."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from psycopg_pool import AsyncConnectionPool

from config.archive import Meter
from config.load import LoadedSite
from config.settings import (
    BrokerSection,
    ControlSection,
    GatewaySection,
    LineSection,
    ListenerSection,
)
from daemon.acquisition.broker_line import BrokerLine, BrokerParts
from daemon.acquisition.drivers import Credentials, driver_of
from daemon.acquisition.jobs import LineParts, Pace
from daemon.acquisition.line import Line
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.site_clock import SiteClock
from daemon.acquisition.wire_line import WireLine, WireParts
from daemon.control.authority import Authority, SiteHold
from daemon.control.guard import Policy
from daemon.pipeline import Pipeline
from daemon.site.listeners import Listener, enabled_listeners
from daemon.transactions.line_commands import LineCommands
from protocols.channels import Channel
from protocols.channels.conversation import Timing
from protocols.channels.mqtt.broker_socket import Broker, Tls
from protocols.channels.mqtt.channel import MqttChannel
from protocols.channels.serial import SerialChannel
from protocols.channels.tcp import TcpChannel
from protocols.mqtt.events import Family
from protocols.mqtt.own import OwnForm
from protocols.mqtt.shelly import Shelly
from protocols.mqtt.state_grid import StateGrid
from protocols.mqtt.tasmota import Tasmota
from storage.archive import SiteMeter


@dataclass(frozen=True)
class Assembly:
    """What all routes of a daemon share."""

    pool: AsyncConnectionPool[Any]
    authority: Authority
    pipeline: Pipeline
    may_backfill: Callable[[], bool]
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    batch_poller: BatchPoller = field(default_factory=lambda: BatchPoller(Deadlines()))

    @cached_property
    def clock(self) -> SiteClock:
        """One for all lines."""
        return SiteClock(self.authority.zone)

    def routes(
        self, site: LoadedSite, meters: Iterable[SiteMeter], only: Collection[str] | None = None
    ) -> list[Line]:
        """The site's enabled lines, terminals and gateways with their meters. `only`: those of
        these names."""
        here: defaultdict[str, list[SiteMeter]] = defaultdict(list)
        for meter in meters:
            here[meter.line].append(meter)
        listed: defaultdict[str, list[Meter]] = defaultdict(list)
        for entry in site.archive.meters:
            if only is None or entry.line in only:
                listed[entry.line].append(entry)
        made: list[Line] = [
            self._line(
                section.name,
                section,
                site,
                here[section.name],
                listed[section.name],
                _opener(section, site),
            )
            for section in site.settings.line
            if section.enabled and (only is None or section.name in only)
        ]
        for listener in enabled_listeners(site):
            made += [
                self._line(
                    *(it.line, listener, site, here[it.line], listed[it.line]),
                    partial(self.listeners[listener.name].channel, it.terminal),
                    shown_as=listener.name,
                )
                for it in site.terminals[listener.name]
                if only is None or it.line in only
            ]
        made += [
            self._gateway(section, site, here[section.name], listed[section.name])
            for section in site.settings.gateway
            if section.enabled and (only is None or section.name in only)
        ]
        return made

    def _line(
        self,
        name: str,
        section: LineSection | ListenerSection,
        site: LoadedSite,
        meters: list[SiteMeter],
        listed: list[Meter],
        open_channel: Callable[[], AbstractAsyncContextManager[Channel]],
        shown_as: str | None = None,
    ) -> WireLine:
        collection, control_section = site.settings.collection, site.settings.control
        credentials = None
        if control_section.password is not None:
            credentials = Credentials(
                control_section.level, control_section.operator, control_section.password
            )
        relays = {meter.address for meter in listed if meter.relay}
        profiles = site.archive.profiles
        return WireLine(
            self._common_parts(
                name,
                shown_as or name,
                meters,
                site,
                is_traced=name in site.settings.log.trace_lines,
            ),
            WireParts(
                driver_of=lambda meter: driver_of(
                    meter,
                    profiles,
                    has_relay=meter.address in relays,
                    credentials=credentials,
                ),
                open_channel=open_channel,
                timing=Timing(reply_timeout_s=section.reply_timeout_s, retries=section.retries),
                batch_poller=self.batch_poller,
                pipelined=section.pipelined,
                sets_clocks=collection.set_clocks,
                may_backfill=self.may_backfill,
            ),
        )

    def _common_parts(
        self,
        name: str,
        shown_as: str,
        meters: list[SiteMeter],
        site: LoadedSite,
        *,
        is_traced: bool,
    ) -> LineParts:
        collection = site.settings.collection
        return LineParts(
            name=name,
            shown_as=shown_as,
            meters=meters,
            pace=Pace(collection.retry_s.total_seconds(), collection.reconnect_s.total_seconds()),
            backfill_days=collection.backfill_days,
            clock=self.clock,
            commands=LineCommands(name, self.pool, self.authority),
            sink=self.pipeline,
            may_control=not self.authority.shadow_mode,
            is_traced=is_traced,
        )

    def _gateway(
        self,
        section: GatewaySection,
        site: LoadedSite,
        meters: list[SiteMeter],
        listed: list[Meter],
    ) -> Line:
        devices = {meter.address: meter.device for meter in listed}
        names = [devices[meter.address] for meter in meters]
        us = _client_id(site, section.name)
        family: Family
        match section.family:
            case "meterd":
                family = OwnForm(section.prefix, section.name)
            case "tasmota":
                family = Tasmota(names)
            case "shelly":
                family = Shelly(names, us, section.component)
            case "state-grid":
                family = StateGrid(section.app, section.registers, reporters=section.reporters)
        return BrokerLine(
            self._common_parts(
                section.name,
                section.name,
                meters,
                site,
                is_traced=section.name in site.settings.log.trace_lines,
            ),
            BrokerParts(
                broker=broker_of(section.broker, us),
                family=family,
                devices=devices,
                relays={meter.address for meter in listed if meter.relay},
                reply_timeout_s=section.reply_timeout_s,
            ),
        )


def _opener(
    section: LineSection, site: LoadedSite
) -> Callable[[], AbstractAsyncContextManager[Channel]]:
    """What makes the channel of a line anew each time it is opened."""
    if section.tcp is not None:
        return partial(TcpChannel, *section.tcp)
    if section.mqtt is not None:
        mqtt = section.mqtt
        broker = broker_of(mqtt, _client_id(site, section.name))
        return partial(
            MqttChannel,
            broker,
            down=mqtt.down,
            up=mqtt.up,
            wrapping=mqtt.wrapping,
            field=mqtt.field,
        )
    return partial(SerialChannel, str(section.serial), section.baud, section.parity)


def _client_id(site: LoadedSite, route: str) -> str:
    """Who we are at a broker. It is part of topics, where some characters mean something else."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"meterd-{site.settings.site.name}-{route}")


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


def policy_of(section: ControlSection) -> Policy:
    """The guard's policy from the site's settings."""
    return Policy(
        max_reading_age=section.max_reading_age_h,
        window_start=section.window_start,
        window_end=section.window_end,
        working_days_only=section.working_days_only,
        holidays=section.holidays,
        makeup_workdays=section.makeup_workdays,
        no_trip_on_eve=section.no_trip_on_eve,
        written_required=section.written_notice_required,
        written_min=section.written_notice_min_h,
        written_max=section.written_notice_max_h,
        final_required=section.final_notice_required,
        final_min=section.final_notice_min_min,
        final_max=section.final_notice_max_h,
        approvals_required=section.approvals_required,
        min_debt_fen=section.min_debt_yuan,
        startup_hold=section.startup_hold_min,
    )


def authority_of(section: ControlSection, zone: Any) -> Authority:
    return Authority(
        policy_of(section),
        zone,
        section.mode == "shadow",
        datetime.now(UTC),
        SiteHold(),
    )
