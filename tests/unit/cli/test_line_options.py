"""How the options that name a line open it."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from daemon.cli.connection import line_options
from daemon.field.connection import Connection


@click.command()
@line_options(baud=9600, parity="N")
def command(connection: Connection) -> None:
    click.echo(f"{connection.channel.name}|{connection.speed}")


@pytest.mark.parametrize(
    ("options", "opened"),
    [
        ([], "serial /dev/ttyS9 9600 Bd 8N1|9600 8N1"),
        (["--stop-bits", "2"], "serial /dev/ttyS9 9600 Bd 8N2|9600 8N2"),
        (
            ["--baud", "300", "--parity", "E", "--data-bits", "7"],
            "serial /dev/ttyS9 300 Bd 7E1|300 7E1",
        ),
    ],
)
def test_a_serial_port_is_opened_as_the_options_say(options: list[str], opened: str) -> None:
    done = CliRunner().invoke(command, ["--serial", "/dev/ttyS9", *options])
    assert done.output.strip() == opened
