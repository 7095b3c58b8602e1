"""meterd rehearse: what a change would do, seen by the months that are past."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from daemon.cli.output import as_json
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day, Whole

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
MOST_MONTHS = 120


@click.command(short_help="What a change would do, by the past months.")
@click.option("--tariff", "tariff_path", type=FILE, help="A tariff file: who pays more or less.")
@click.option("--limits", "limits_path", type=FILE, help="A points.csv: what is released.")
@click.option("--policy", "policy_path", type=FILE, help="A [control]: who could have been cut.")
@click.option("--name", help="The tariff that is tried; the file's only one stands for it.")
@click.option(
    "--from",
    "since",
    type=Day(),
    help="As if the file's last version counted from this day on.",
)
@click.option(
    "--months",
    type=Whole(1, MOST_MONTHS),
    default=12,
    show_default=True,
    help="So many months, with that of today.",
)
@site_option
@as_json
def rehearse(
    *,
    tariff_path: Path | None,
    limits_path: Path | None,
    policy_path: Path | None,
    name: str | None,
    since: date | None,
    months: int,
    site_path: Path,
    as_json: bool,
) -> None:
    """What a change would have done in the past months; nothing of it is kept, the daemon may run.

    --tariff: who would have paid how much more or less, by month, the distribution, the most
    affected; with --json every account. The same file, taken over and approved, moves balances by
    the very fen that are shown. --limits: which withheld days would be published, which published
    ones withdrawn. --policy: which points could have been cut, and when at the earliest."""
    if sum(path is not None for path in (tariff_path, limits_path, policy_path)) != 1:
        raise click.UsageError("name one of --tariff, --limits and --policy")
    if tariff_path is None and (name or since):
        raise click.UsageError("--name and --from go with --tariff")
    # Each loads what it works with, which who only asks for help need not wait for.
    if tariff_path is not None:
        from daemon.cli.rehearse_tariff import Asked, rehearse_tariff

        rehearse_tariff(tariff_path, name, Asked(site_path, since, months, as_json))
    elif limits_path is not None:
        from daemon.cli.rehearse_limits import rehearse_limits

        rehearse_limits(limits_path, months, site_path, as_json=as_json)
    elif policy_path is not None:
        from daemon.cli.rehearse_policy import rehearse_policy

        rehearse_policy(policy_path, months, site_path, as_json=as_json)
