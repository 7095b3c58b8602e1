"""How a line or a gateway is made of what is configured."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from typing import Any
from zoneinfo import ZoneInfo

from psycopg_pool import AsyncConnectionPool

from config.calendars import country_days
from config.lines import LineSpec, TerminalSettings
from config.load import LoadedSite
from config.policies import shipped_policies
from config.settings import (
    ApprovalMode,
    ControlSection,
    GatewaySection,
    LineSection,
    PolicyPart,
    PolicySection,
)
from daemon.acquisition.drivers import Credentials, driver_of
from daemon.acquisition.line import Line
from daemon.acquisition.parts import LineParts, Pace
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.signing import SigningHook
from daemon.acquisition.site_clock import SiteClock
from daemon.acquisition.wire_line import WireLine, WireParts
from daemon.control.authority import Authority, SiteHold
from daemon.control.guard import Policy
from daemon.notices.due import Terms
from daemon.notices.wording import SiteWords
from daemon.pipeline.pipeline import Pipeline
from daemon.site.listeners import Listener
from daemon.transactions.line_commands import LineCommands
from daemon.transactions.meter_orders import LineOrders
from daemon.transactions.notices import Telling
from daemon.transactions.staff_alarms import Staff
from protocols.channels import Channel
from protocols.channels.conversation import Timing
from protocols.channels.serial import SerialChannel
from protocols.channels.tcp import TcpChannel
from protocols.modbus.profile import Profile
from storage.archive import SiteMeter


@dataclass(frozen=True)
class Assembly:
    """What all lines of a daemon share.

    `credentials`: those of control frames, if it may send any."""

    pool: AsyncConnectionPool[Any]
    authority: Authority
    pipeline: Pipeline
    may_backfill: Callable[[], bool]
    credentials: Credentials | None = None
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    batch_poller: BatchPoller = field(default_factory=lambda: BatchPoller(Deadlines()))
    clock_doubt: Callable[[], str] = lambda: ""

    @cached_property
    def clock(self) -> SiteClock:
        """One for all lines."""
        return SiteClock(self.authority.zone, doubt=self.clock_doubt)

    def lines(self, specs: Iterable[LineSpec], meters: Iterable[SiteMeter]) -> list[Line]:
        """The lines that `specs` describe, each with those of `meters` that are on it."""
        here: defaultdict[str, list[SiteMeter]] = defaultdict(list)
        for meter in meters:
            here[meter.line].append(meter)
        return [self._line(spec, here[spec.name]) for spec in specs]

    def _line(self, spec: LineSpec, meters: list[SiteMeter]) -> Line:
        match spec.settings:
            case LineSection() as section:
                return self._wire_line(
                    spec,
                    section,
                    meters,
                    _opener(spec, section),
                )
            case TerminalSettings() as settings:
                listener = self.listeners[settings.listener]
                open_channel = partial(listener.channel, settings.terminal)
                return self._wire_line(
                    spec,
                    settings,
                    meters,
                    open_channel,
                )
            case GatewaySection() as section:
                # Few sites have a broker: a library for it is loaded with the first line.
                from daemon.site.gateways import gateway_line

                return gateway_line(self._common_parts(spec, meters), spec, section)

    def _wire_line(
        self,
        spec: LineSpec,
        settings: LineSection | TerminalSettings,
        meters: list[SiteMeter],
        open_channel: Callable[[], AbstractAsyncContextManager[Channel]],
    ) -> WireLine:
        relays = spec.relays
        profiles = _profiles(spec)
        return WireLine(
            replace(
                self._common_parts(spec, meters),
                orders=LineOrders(spec.name, self.pool, self.authority),
            ),
            WireParts(
                driver_of=lambda meter: driver_of(
                    meter,
                    profiles,
                    has_relay=meter.address in relays,
                    credentials=self.credentials,
                ),
                open_channel=open_channel,
                timing=Timing(
                    reply_timeout_s=settings.reply_timeout_s,
                    pause_s=settings.pause_ms / 1000,
                    retries=settings.retries,
                ),
                batch_poller=self.batch_poller,
                pipelined=settings.pipelined,
                sets_clocks=spec.collection.set_clocks,
                may_backfill=self.may_backfill,
            ),
        )

    def _common_parts(self, spec: LineSpec, meters: list[SiteMeter]) -> LineParts:
        collection = spec.collection
        return LineParts(
            name=spec.name,
            shown_as=spec.shown_as,
            meters=meters,
            pace=Pace(collection.retry.total_seconds(), collection.reconnect.total_seconds()),
            backfill_days=collection.backfill_days,
            clock=self.clock,
            commands=LineCommands(spec.name, self.pool, self.authority),
            sink=self.pipeline,
            may_control=not self.authority.shadow_mode,
            is_traced=spec.is_traced,
        )


def _profiles(spec: LineSpec) -> dict[str, Profile]:
    """The register maps of its Modbus meters, by the name that stands in meters.csv."""
    return {
        listed.meter.profile: listed.profile
        for listed in spec.meters
        if listed.meter.profile is not None and listed.profile is not None
    }


def _opener(
    spec: LineSpec, section: LineSection
) -> Callable[[], AbstractAsyncContextManager[Channel]]:
    """What makes the channel of a line anew each time it is opened."""
    if section.tcp is not None:
        return partial(TcpChannel, *section.tcp)
    if section.mqtt is not None:
        from daemon.site.gateways import mqtt_channel

        return mqtt_channel(spec, section.mqtt)
    return partial(
        SerialChannel,
        str(section.serial),
        section.baud,
        section.parity,
        section.data_bits,
        section.stop_bits,
    )


def credentials_of(section: ControlSection) -> Credentials | None:
    """What a meter asks of one who sends control frames; None without password and signer."""
    signing = SigningHook(section.signer) if section.signer else None
    if section.password is None and signing is None:
        return None
    return Credentials(section.level, section.operator, section.password, signing)


def policy_of(section: PolicyPart, startup_hold: timedelta, *modes: ApprovalMode) -> Policy:
    """The guard's policy from settings.

    In the modes manual and assisted every cut needs an approval, whatever is written."""
    holidays, makeup_workdays = section.holidays, section.makeup_workdays
    if section.calendar is not None:
        this_year = datetime.now(UTC).year
        known = country_days(section.calendar, range(this_year - 2, this_year + 3))
        holidays, makeup_workdays = _and_those_of((holidays, makeup_workdays), known)
    least = 0 if {"manual", "assisted"}.isdisjoint(modes) else 1
    return Policy(
        max_reading_age=section.max_reading_age,
        max_relay_age=section.max_relay_age,
        window_start=section.window_start,
        window_end=section.window_end,
        working_days_only=section.working_days_only,
        holidays=holidays,
        makeup_workdays=makeup_workdays,
        no_trip_on_eve=section.no_trip_on_eve,
        written_required=section.written_notice_required,
        written_min=section.written_notice_min,
        written_max=section.written_notice_max,
        final_required=section.final_notice_required,
        final_min=section.final_notice_min,
        final_max=section.final_notice_max,
        approvals_required=max(section.approvals_required, least),
        min_debt_fen=section.min_debt_fen,
        startup_hold=startup_hold,
    )


DaysOff = tuple[frozenset[date], frozenset[date]]
"""Holidays, and weekend days that are worked for them."""


def _and_those_of(said: DaysOff, known: DaysOff) -> DaysOff:
    """What is said of a day counts, of others what is known."""
    (off, worked), (known_off, known_worked) = said, known
    return off | (known_off - worked), worked | (known_worked - off)


def policies_of(
    control: ControlSection, policies: Iterable[PolicySection] = ()
) -> dict[str, Policy]:
    """By name those that accounts may have: those that are shipped, and the site's own.

    The days off of the site are theirs too, and so is its care that every cut is approved."""
    shipped = (PolicySection(name=name, profile=name) for name in shipped_policies())
    site = site_policy_of(control)
    return {it.name: _policy_beside(it, site, control) for it in (*shipped, *policies)}


def _policy_beside(section: PolicySection, site: Policy, control: ControlSection) -> Policy:
    own = policy_of(section, control.startup_hold, section.mode, control.mode)
    holidays, makeup_workdays = _and_those_of(
        (own.holidays, own.makeup_workdays), (site.holidays, site.makeup_workdays)
    )
    return replace(
        own,
        shadow=section.mode == "shadow",
        holidays=holidays,
        makeup_workdays=makeup_workdays,
    )


def authority_of(
    section: ControlSection, policies: Iterable[PolicySection], zone: ZoneInfo
) -> Authority:
    """Who may cut and restore from this start on; the days of `zone` count."""
    return Authority(
        site_policy_of(section),
        zone,
        section.mode == "shadow",
        _since(time.monotonic()),
        SiteHold(),
        policies_of(section, policies),
        meter_alarm=section.meter_alarm,
    )


def _since(began_s: float) -> Callable[[], timedelta]:
    return lambda: timedelta(seconds=time.monotonic() - began_s)


def site_policy_of(section: ControlSection) -> Policy:
    """That of accounts that have no other. Whether it is in shadow mode is said beside it."""
    return policy_of(section, section.startup_hold, section.mode)


def telling_of(site: LoadedSite, authority: Authority) -> Telling:
    """In which words customers are told what, over which channels."""
    settings = site.settings
    said = settings.notices
    words = {
        "zh": SiteWords(said.how_to_pay_zh or "", said.how_to_complain_zh or ""),
        "en": SiteWords(said.how_to_pay_en or "", said.how_to_complain_en or ""),
    }
    return Telling(
        authority,
        Terms(
            settings.site.zone,
            said.warn_days,
            said.cycle,
            said.remind_days,
            tuple(sorted(said.dunning_days)),
            said.goes_there,
        ),
        {it.name for it in settings.notice_channel},
        site.texts,
        words,
    )


def staff_of(site: LoadedSite) -> Staff:
    """Who is told of alarms, and how."""
    settings = site.settings
    return Staff(settings.on_call, settings.alarms.escalate_after, site.texts, settings.site.zone)
