"""What a command loads before it begins: a person waits for it each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"numpy", "structlog", "rich", "pymodbus", "prometheus_client", "apscheduler", "paho"}


def loaded(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after it."""
    code = f"import sys; {statement}; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    return {*told.split()}


OF_FEW_SITES = {
    "rich",
    "requests",
    "urllib3",
    "pymodbus",
    "paho",
    "apprise",
    "holidays",
    "openpyxl",
}
"""What a start of the daemon waits for only where a site has a meter, a channel or a file for it."""


@pytest.mark.parametrize("command", ["account", "gaps", "standstill", "readings", "plan", "reload"])
def test_a_command_that_only_asks_loads_nothing_of_what_acts(command: str) -> None:
    assert loaded(f"import daemon.cli.{command}") & HEAVY == set()


def test_a_payment_that_no_daemon_posts_waits_for_nothing_heavy_either() -> None:
    modules = ("cli.topup", "cli.on_site", "transactions.payment", "api.payment_request")
    assert loaded(f"import {', '.join(f'daemon.{it}' for it in modules)}") & HEAVY == set()


def test_an_account_is_shown_without_what_other_commands_need() -> None:
    found = loaded("import daemon.cli.account")
    assert {name for name in found if name.startswith("daemon.cli.account_")} == set()


def test_the_list_of_commands_loads_none_of_them() -> None:
    listing = "from click.testing import CliRunner; from daemon.cli import COMMANDS, cli"
    found = loaded(f"{listing}; assert CliRunner().invoke(cli, ['--help']).exit_code == 0")
    assert {name for name in found if name.startswith("daemon.cli.")} == {"daemon.cli.output"}


def test_the_daemon_loads_only_what_every_site_needs() -> None:
    assert loaded("import daemon.cli.run, daemon.app") & OF_FEW_SITES == set()


def test_settings_are_loaded_without_building_what_checks_them() -> None:
    built = "from config.settings import *; print(*{it.__name__ for it in Section.__subclasses__() if it.__pydantic_complete__})"
    told = subprocess.run([sys.executable, "-c", built], capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
