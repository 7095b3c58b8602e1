"""apt's mbpoll: a Modbus master that somebody else wrote, for the tests of our simulated meters."""

import re
import subprocess
from dataclasses import dataclass

from tests.servers.packages import program

PACKAGE = "mbpoll"
TIMEOUT_S = 20


@dataclass(frozen=True)
class Polled:
    """What mbpoll printed: the values by their reference (counted from 1), and everything else."""

    values: dict[int, str]
    text: str
    exit_code: int


def mbpoll(*arguments: str) -> Polled:
    """Run it once. InstallationFailed when it is missing and cannot be had."""
    command = [program(PACKAGE, [PACKAGE]), *arguments, "-1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    values = dict(re.findall(r"^\[(\d+)\]:\s+(\S+)", done.stdout, re.MULTILINE))
    return Polled(
        {int(at): value for at, value in values.items()}, done.stdout + done.stderr, done.returncode
    )
