"""apt's mbpoll: a Modbus master that somebody else wrote, for the tests of our simulated meters."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

PACKAGE = "mbpoll"
TIMEOUT_S = 20


class NoMbpoll(Exception):
    """There is no mbpoll and none can be installed; the message ends with what apt said."""


@dataclass(frozen=True)
class Polled:
    """What mbpoll printed: the values by their reference (counted from 1), and everything else."""

    values: dict[int, str]
    text: str
    exit_code: int


def mbpoll(*arguments: str) -> Polled:
    """Run it once. NoMbpoll when it is missing and cannot be installed: that is a failure, not a
    skip."""
    command = [_program(), *arguments, "-1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    values = dict(re.findall(r"^\[(\d+)\]:\s+(\S+)", done.stdout, re.MULTILINE))
    return Polled(
        {int(at): value for at, value in values.items()}, done.stdout + done.stderr, done.returncode
    )


def _program() -> str:
    found = shutil.which(PACKAGE)
    if found is None:
        apt_get = [
            *([] if os.geteuid() == 0 else ["sudo"]),
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
        ]
        for step in (["update"], ["install", "-y", "--no-install-recommends", PACKAGE]):
            done = subprocess.run([*apt_get, *step], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise NoMbpoll(
                    f"apt-get {step[0]} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
                )
        found = shutil.which(PACKAGE)
    if found is None:
        raise NoMbpoll(f"{PACKAGE} is installed, but there is no program of that name")
    return found
