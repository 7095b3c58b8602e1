"""The archive of the configuration becomes the database's.

R26: what was billed cannot be changed by an edit; exchange and ratio change are documents."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from config.archive import Account, Point
from config.load import LoadedSite
from config.meters import DLT645, LEAST_DECIMALS, MQTT, Meter
from config.point_limit import TOLD
from config.tariff_canonical import canonical_form
from config.tariff_version import TariffVersion
from daemon.quality.judge import RULE_SET
from daemon.transactions import point_pricing
from daemon.transactions.tariff_versions import DAEMON, waiting_in_words
from storage import archive, judging, rule_sets, tariff_filing
from storage.archive import ArchiveRows, PointPage, SiteMeter
from storage.owner import claim
from storage.point_pricing import Pricing

log = structlog.get_logger("daemon")

NAMED: Final = 5
"""Days of a point that are told one by one."""
MOST_TOLD: Final = 50
"""Who looks at a plan reads no more; the rows of each table are counted besides."""


async def take_over_site(connection: AsyncConnection[Any], site: LoadedSite) -> list[SiteMeter]:
    """Take over all that is configured; returns the meters that serve points.

    One transaction: ArchiveConflict, naming every case, changes nothing. What it changes of
    accounts is settled afterwards."""
    async with connection.transaction():
        await take_over_archive(connection, site)
        return await archive.site_meters(connection)


async def take_over_archive(
    connection: AsyncConnection[Any],
    site: LoadedSite,
    left_out: Set[str] | None = None,
    actor: str = DAEMON,
) -> tuple[str, ...]:
    """Bring points, meters, tariffs and new accounts of the configuration into the database.

    `left_out`: the points that the files name no more, where `site` is a part of them. `actor`: who
    asked for it; where nobody did, versions are told by the owner of the tariffs file. Returns what
    documents say otherwise than the files. Points of which a limit changed, or that a new rule set
    may judge otherwise, wait to be judged (disputes.py). ForeignSite where that is another site's.
    """
    zone = site.settings.site.zone
    await claim(connection, site.settings.site.name, zone)
    rows = archive_rows(site, zone)
    now = datetime.now(zone)
    async with connection.transaction():
        teller = (site.tariffs_owner or DAEMON) if actor == DAEMON else actor
        found = await archive.take_over(
            connection, rows, now, site_option_of(site), left_out, teller
        )
        ruled = await rule_sets.follow(connection, RULE_SET, rules_of(site), actor)
        # As many as there may be: the take-over does not wait for them.
        await judging.wait(connection, {**found.limited, **ruled})
    if found.differing_accounts:
        log.warning(
            "accounts differ from the files and stay as they are: `meterd account import` takes "
            "the files over",
            count=len(found.differing_accounts),
            first=found.differing_accounts[0],
        )
    waiting = await tariff_filing.versions(connection, "waits")
    if waiting:
        log.warning(
            "versions of tariffs wait for a second person: `meterd tariff list`",
            count=len(waiting),
            first=f"{waiting[0].tariff} {waiting[0].effective_from}",
        )
    if found.stale:
        log.warning(
            "the files do not know yet what documents say; the documents count",
            count=len(found.stale),
            first=found.stale[0],
        )
    return found.stale


def rules_of(site: LoadedSite) -> dict[str, int]:
    """What the site says of how readings are judged, by key."""
    said: dict[str, int] = site.settings.quality.model_dump()
    return said


def site_option_of(site: LoadedSite) -> str:
    """What commands need to find the site."""
    return f" -c {shlex.quote(str(site.path))}"


async def take_over_part(
    connection: AsyncConnection[Any], site: LoadedSite, points: Set[str], actor: str = DAEMON
) -> tuple[str, ...]:
    """The same where `site` is the part of the files that says something else of these points."""
    named = {point.point for point in site.archive.points}
    return await take_over_archive(connection, site, points - named, actor)


class Told(NamedTuple):
    """What taking files over would mean, in words: by points and days, and which versions of
    tariffs would wait for a second person."""

    days: tuple[str, ...]
    waiting: tuple[str, ...]


async def told_in_days(
    connection: AsyncConnection[Any], site: LoadedSite, points: Set[str]
) -> Told:
    """What taking the files over would mean for these points, in words; nothing is kept of it.

    `site` may be the part that changed, with the rows of these points. ArchiveConflict, as taking
    them over would. At most MOST_TOLD points are told one by one."""
    before = await archive.pages(connection, points)
    rules = await _rules_in_words(connection, site)
    async with connection.transaction(force_rollback=True):
        stale = await take_over_part(connection, site, points)
        after = await archive.pages(connection, points)
        waiting = await waiting_versions(connection, site)
    told = [words for point in sorted(points) for words in page_in_words(before, after, point)]
    named = {point.point for point in site.archive.points}
    told += [_left_in_words(after[point]) for point in sorted(points - named) if point in after]
    more = len(told) - MOST_TOLD
    if more > 0:
        told[MOST_TOLD:] = [f"and {more} more like these"]
    added = sum(point in after and point not in before for point in points)
    if added:
        told.append(f"points that are new: {added}")
    return Told((*rules, *told, *stale), waiting)


async def _rules_in_words(connection: AsyncConnection[Any], site: LoadedSite) -> tuple[str, ...]:
    """What another `max_auto_span_days` means."""
    newest = await rule_sets.newest(connection)
    becomes = rules_of(site)
    was_days, days = (it["max_auto_span_days"] for it in (newest.thresholds, becomes))
    if was_days == days:
        return ()
    points = await rule_sets.judged_otherwise(connection, newest, becomes)
    return (
        f"use of more than {days} days waits for a person, instead of {was_days}, and outliers are "
        f"outvoted over {days} days; points that are judged again: {len(points)}",
    )


async def stale_cells(connection: AsyncConnection[Any], site: LoadedSite) -> tuple[str, ...]:
    """What documents say otherwise than the files of `site`, and what to write where."""
    points = await archive.documented_points(connection)
    if not points:
        return ()
    known = site.archive
    part = replace(
        site,
        archive=replace(
            known,
            meters=tuple(meter for meter in known.meters if meter.point in points),
            points=tuple(point for point in known.points if point.point in points),
            accounts=(),
            texts={},
        ),
        tariffs={},
    )
    return await archive.stale(connection, archive_rows(part, site.settings.site.zone))


async def waiting_versions(connection: AsyncConnection[Any], site: LoadedSite) -> tuple[str, ...]:
    """Which versions of tariffs and pricings of points wait for a second person, in words."""
    today = datetime.now(site.settings.site.zone).date()
    option = site_option_of(site)
    versions = await waiting_in_words(connection, today, option)
    return versions + await point_pricing.waiting_in_words(connection, option)


def page_in_words(
    before: Mapping[str, PointPage], after: Mapping[str, PointPage], point: str
) -> Iterator[str]:
    """What is otherwise of one point that was known before."""
    was = before.get(point)
    becomes = after.get(point)
    if was is None:
        return
    if becomes is None:
        yield f"{point}: is forgotten; nothing was read or billed of it"
        return
    yield from _billing_in_words(was, becomes)
    if was.address != becomes.address:
        yield f"{point}: served by {becomes.address} instead of {was.address}, which was never read"
    elif was.installed_on != becomes.installed_on:
        yield from _start_in_words(was, becomes)
    if was.ratio != becomes.ratio:
        yield f"{point}: ratio {becomes.ratio} instead of {was.ratio}; nothing was billed with it"
    if was.max_daily_kwh != becomes.max_daily_kwh:
        yield _limit_in_words(was, becomes)
    elif was.limit_basis != becomes.limit_basis:
        yield f"{_of_limit(becomes)}, as from {was.limit_basis}; no day is judged otherwise"
    yield from _pricing_in_words(was, becomes)


def _billing_in_words(was: PointPage, becomes: PointPage) -> Iterator[str]:
    if (was.account, was.billed_from) == (becomes.account, becomes.billed_from):
        return
    if becomes.account is None:
        yield f"{becomes.point}: billed to nobody instead of {was.account}"
        return
    opening = (
        f"opening register {becomes.opening_kwh}"
        if becomes.opening_kwh is not None
        else "the freeze of that day, its opening register, is not published yet"
    )
    instead = f" instead of {was.account}" if was.account not in (None, becomes.account) else ""
    since = f"{becomes.point}: from {becomes.billed_from} on"
    yield f"{since} billed to {becomes.account}{instead}; {opening}"


def _start_in_words(was: PointPage, becomes: PointPage) -> Iterator[str]:
    if was.installed_on is None or becomes.installed_on is None:
        return
    days = (was.installed_on - becomes.installed_on).days
    what = f"{days} days more are" if days > 0 else f"{-days} days are no longer"
    yield (
        f"{becomes.point}: its meter counts from {becomes.installed_on} on instead of "
        f"{was.installed_on}; {what} owed"
    )


def _pricing_in_words(was: PointPage, becomes: PointPage) -> Iterator[str]:
    """What prices look at besides the registers; of a billed point it waits."""
    told, counts = (
        Pricing(it.phases, " ".join(it.rates), it.residual_rate or "") for it in (becomes, was)
    )
    if told != counts:
        changed = point_pricing.differences(told, counts)
        yield f"{becomes.point}: {changed}; nothing was billed with it"


def _left_in_words(page: PointPage) -> str:
    words = f"{page.point}: is in the files no more; its meter is not polled any more"
    if page.account is None:
        return words
    return (
        f"{words}, and {page.account} stays billed for it until: "
        f"meterd point release {shlex.quote(page.point)} --on DAY"
    )


def _limit_in_words(was: PointPage, becomes: PointPage) -> str:
    words = f"{_of_limit(becomes)} instead of {was.max_daily_kwh}"
    if was.limit_basis != TOLD:
        words += f" (from {was.limit_basis})"
    if becomes.max_daily_kwh < was.max_daily_kwh:
        return f"{words}, from today on"
    named = [*map(str, was.withheld[:NAMED]), *["..."] * (len(was.withheld) > NAMED)]
    of_days = f": {', '.join(named)}" if named else ""
    return f"{words}, always; {len(was.withheld)} withheld days are judged again{of_days}"


def _of_limit(page: PointPage) -> str:
    words = f"{page.point}: at most {page.max_daily_kwh} kWh a day"
    return words if page.limit_basis == TOLD else f"{words} (from {page.limit_basis})"


def archive_rows(site: LoadedSite, zone: ZoneInfo) -> ArchiveRows:
    """The files in the columns of the staged tables; days begin in this zone."""
    midnights: dict[date, datetime] = {}
    for meter in site.archive.meters:
        midnights.setdefault(meter.installed_on, datetime.combine(meter.installed_on, time(), zone))
    return ArchiveRows(
        tariffs=[
            tariff_row(name, version)
            for name, versions in site.tariffs.items()
            for version in versions.all
        ],
        accounts=[account_row(account) for account in site.archive.accounts],
        points=[_point_row(point) for point in site.archive.points],
        meters=[_meter_row(meter, midnights[meter.installed_on]) for meter in site.archive.meters],
        tariffs_owner=site.tariffs_owner,
        points_owner=site.points_owner,
    )


def as_installed(site: LoadedSite, serving: Iterable[SiteMeter]) -> LoadedSite:
    """`site` with the meters that documents put where the files name another one still.

    `serving`: what the database says. Such a meter is read as the row of its point says, on the
    line of the one before it. Not what a gateway calls by a name of its own: nobody said what that
    is called now."""
    named = {meter.address for meter in site.archive.meters}
    others = {meter.point: meter for meter in serving if meter.address not in named}
    if not others:
        return site
    meters = tuple(
        replace(row, address=other.address, line=other.line, device=other.address, serial=None)
        for row in site.archive.meters
        if (other := others.get(row.point)) and (row.protocol != MQTT or row.device == row.address)
    )
    return replace(site, archive=replace(site.archive, meters=(*site.archive.meters, *meters)))


def configured(meters: Sequence[SiteMeter], site: LoadedSite) -> list[SiteMeter]:
    """The meters that the archive still names.

    Taking one out ends its polling, not what it was billed for."""
    named = {meter.address for meter in site.archive.meters}
    # Taken out of the files, kept in the database: readings and money refer to them.
    left_out = [meter.address for meter in meters if meter.address not in named]
    if left_out:
        log.warning(
            "meters not in the archive are not polled", count=len(left_out), first=left_out[0]
        )
    return [meter for meter in meters if meter.address in named]


# The columns of the staged tables, in their order.


def tariff_row(tariff: str, version: TariffVersion) -> tuple[Any, ...]:
    """A version of the files in the columns of the staged table."""
    return tariff, version.effective_from, Jsonb(canonical_form(version))


def account_row(account: Account) -> tuple[Any, ...]:
    """An account of the files in the columns of the staged table."""
    return (
        account.account,
        account.name,
        account.tariff,
        account.agreement,
        account.open_from,
        account.warn_fen,
        account.trip_fen,
        account.reconnect_fen,
        account.credit_limit_fen,
        account.address,
        account.settlement,
    )


def _point_row(point: Point) -> tuple[Any, ...]:
    return (
        point.point,
        point.account,
        point.area,
        point.ratio,
        point.max_daily_kwh,
        point.limit_basis,
        point.reconnect,
        point.protected,
        point.life_support,
        point.phases,
        " ".join(point.rates),
        point.residual_rate,
    )


def _meter_row(meter: Meter, installed_at: datetime) -> tuple[Any, ...]:
    is_dlt645 = meter.protocol in DLT645
    return (
        meter.address,
        meter.line,
        meter.protocol,
        int(meter.modulus_kwh.scaleb(meter.decimals)),
        meter.decimals,
        # Whatever resolution is kept: these meters send steps of 0.01 kWh (V11).
        min(meter.decimals, LEAST_DECIMALS) if is_dlt645 else meter.decimals,
        meter.point,
        meter.installed_on,
        installed_at,
        meter.profile,
        meter.serial,
        meter.relay,
        meter.relay_type,
    )
