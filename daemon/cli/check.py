"""meterd check: every mistake of a configuration at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import click

from config.doubts import doubts_of
from config.load import LoadedSite, load_site
from config.problems import ConfigError, Problem, told_once
from config.settings import ListenerSection
from config.settings_file import SettingsFile
from config.translation import ENGLISH, LANGUAGES, Words, words_of
from daemon.cli.output import BAD_CONFIG, as_json, echo, print_json, print_table
from daemon.cli.site_option import site_option
from daemon.field.round_times import SiteRounds, listener_round, site_rounds
from daemon.field.serial_ports import is_unstable, unstable_in_words

FREEZES_DUE: Final = timedelta(hours=2)
"""Today's freezes should be there two hours after midnight."""
VOUCHED: Final = "and it gets trips with the meters' password, as trips_over_plain_text says"


@click.command()
@site_option
@as_json
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    default=ENGLISH,
    show_default=True,
    help="Of the mistakes and warnings: English, or Chinese.",
)
def check(site_path: Path, as_json: bool, language: str) -> None:
    """Read the whole configuration as the daemon would and name every mistake.

    Opens no port, needs no database.

    Exit code 0 when it can be used, 78 when not. Also does the sums that one forgets: how long
    each line needs."""
    words = words_of(language)
    try:
        site = load_site(site_path)
        doubts = doubts_of(site, datetime.now(site.settings.site.zone).date())
        mistakes = [*doubts.mistakes, *_unknown_services(site)]
        if mistakes:
            raise ConfigError(mistakes)
    except ConfigError as error:
        if as_json:
            _print_mistakes(error, words)
        else:
            echo(error.told(words), err=True)
        raise SystemExit(BAD_CONFIG) from None
    rounds = site_rounds(site)
    if as_json:
        _print_as_json(rounds)
        return
    _print_rounds(site, rounds)
    for gateway in _gateways(site):
        echo(words(gateway))
    for warning in (
        *told_once([*site.warnings, *doubts.warnings], words),
        *map(words, _warnings_of_slow_lines(rounds)),
        *map(words, _warnings_of_unstable_ports(site)),
        *map(words, _warnings_of_one_role(site)),
        *map(words, _warnings_of_plain_text(site)),
        *map(words, _warnings_of_silence(site)),
    ):
        echo(f"{words('warning: ')}{warning}", err=True)
    archive = site.archive
    echo(
        words(
            f"{site.settings.site.name}: {len(archive.meters)} meters, "
            f"{len(archive.points)} points, {len(archive.accounts)} accounts, "
            f"control {site.settings.control.mode}. No mistakes."
        )
    )


def _print_mistakes(error: ConfigError, words: Words) -> None:
    for problem in error.problems:
        told = asdict(problem)
        del told["kind"]
        print_json(told | {"message": words(problem.message)})


def _print_as_json(rounds: SiteRounds) -> None:
    for line in rounds.all:
        print_json(
            {
                "line": line.line,
                "meters": line.meters,
                "daily_round_s": round(line.daily.total_seconds()),
                "first_backfill_s": round(line.first.total_seconds()),
            }
        )


def _print_rounds(site: LoadedSite, rounds: SiteRounds) -> None:
    """Lines one by one, terminals summed up by listener: there may be thousands."""
    rows = [*rounds.lines]
    for listener in site.settings.listener:
        terminals = rounds.terminals.get(listener.name)
        if terminals:
            rows.append(listener_round(listener, terminals))
    days = site.settings.collection.backfill_days
    print_table(
        ("line", "channel", "meters", "daily round", f"first {days} days"),
        [(row.line, row.channel, row.meters, _short(row.daily), _short(row.first)) for row in rows],
    )


def _gateways(site: LoadedSite) -> Iterator[str]:
    meters = Counter(meter.line for meter in site.archive.meters)
    for gateway in site.settings.gateway:
        yield (
            f"gateway {gateway.name}: {meters[gateway.name]} meters, "
            f"{gateway.family}, {gateway.broker.host}"
        )


def _warnings_of_slow_lines(rounds: SiteRounds) -> Iterator[str]:
    for line in rounds.all:
        if line.daily > FREEZES_DUE:
            yield (
                f"line {line.line} needs {_short(line.daily)} for one day's freezes, "
                f"which should be there after {_short(FREEZES_DUE)}: "
                "raise its baud rate or split it"
            )


def _warnings_of_unstable_ports(site: LoadedSite) -> Iterator[str]:
    for line in site.settings.line:
        if line.serial is not None and is_unstable(line.serial):
            yield f"line {line.name}: {unstable_in_words(line.serial)}"


def _warnings_of_one_role(site: LoadedSite) -> Iterator[str]:
    database = site.settings.database
    if database.url is not None and database.migration_url is None:
        yield (
            "database.migration_url is not given: the daemon can switch off what guards "
            "the ledger, unless the tables belong to another role than that of database.url"
        )


def _unknown_services(site: LoadedSite) -> Iterator[Problem]:
    if not site.settings.notice_channel:
        return
    # What sends is large, and few sites need it.
    from daemon.sending.channels import NotTaken, open_channels

    for index, section in enumerate(site.settings.notice_channel):
        try:
            open_channels([section])
        except NotTaken:
            file = SettingsFile.read(site.path)
            where = f"notice_channel.{section.name}.apprise"
            place = ("notice_channel", index, "apprise")
            yield file.problem(place, where, "apprise knows no such URL")


def _warnings_of_silence(site: LoadedSite) -> Iterator[str]:
    control = site.settings.control
    requires = control.written_notice_required or control.final_notice_required
    if requires and not site.settings.notice_channel:
        yield (
            "there is no [[notice_channel]]: customers are told nothing, and nobody is cut to whom "
            "no person delivered the notices that [control] requires"
        )


def _warnings_of_plain_text(site: LoadedSite) -> Iterator[str]:
    for listener in site.settings.listener:
        lines = site.terminals[listener.name]
        if not lines:
            continue
        if listener.tls_client_ca is None:
            yield _what_plain_text_means(site, listener)
        for fingerprint, count in Counter(it.fingerprint for it in lines).items():
            if fingerprint and count > 1:
                yield (
                    f"listener {listener.name}: {count} terminals have the certificate "
                    f"{fingerprint[:16]}...: each of them may speak for the others"
                )


def _what_plain_text_means(site: LoadedSite, listener: ListenerSection) -> str:
    open_to_all = [
        it.terminal
        for it in site.terminals[listener.name]
        if not (it.networks or listener.permitted_networks)
    ]
    is_vouched = listener.name in site.settings.control.trips_over_plain_text
    if open_to_all:
        who = (
            f"listener {listener.name} asks for no certificate: whoever reaches its port and says "
            f"a terminal's id is taken for it ({len(open_to_all)} terminals, {open_to_all[0]} one "
            "of them); its readings are billed"
        )
        if is_vouched:
            return (
                f"{who}, and it gets trips with the meters' password, as trips_over_plain_text says"
            )
        return f"{who}, and nobody is cut over it until permitted_networks or tls_client_ca is set"
    who = (
        f"listener {listener.name} asks for no certificate: whoever calls from its permitted "
        "networks and says a terminal's id is taken for it"
    )
    if is_vouched:
        return f"{who}, {VOUCHED}"
    return f"{who}; nobody is cut over a session that is younger than 24 hours"


def _short(time: timedelta) -> str:
    return str(timedelta(seconds=round(time.total_seconds())))
