"""Each promise of spoils.toml broken in turn, in a copy of the tree: its test has to be red.

python -m tests.mutation.spoils [WORD ...]

With words only those of which `of` or `says` has one of them. Exit code 1 if any test stays green."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

TABLE: Final = Path(__file__).with_name("spoils.toml")
RED: Final = 1
"""What pytest ends with when tests failed, and not when it could not run them."""


def main(words: list[str]) -> int:
    """Tell of each whether its test saw it."""
    unseen = 0
    with tempfile.TemporaryDirectory(prefix="spoilt-", dir="/tmp") as folder:
        copy = Path(folder)
        _copy_to(copy)
        for spoil in tomllib.loads(TABLE.read_text())["spoil"]:
            if words and not any(word in f"{spoil['of']} {spoil['says']}" for word in words):
                continue
            is_seen = _is_seen(copy, spoil)
            unseen += not is_seen
            print(f"{'red' if is_seen else 'GREEN'}  {spoil['of']}: {spoil['says']}", flush=True)
    return 1 if unseen else 0


def _copy_to(folder: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, folder / name)


def _is_seen(folder: Path, spoil: dict[str, str]) -> bool:
    path = folder / spoil["file"]
    whole = path.read_text()
    path.write_text(whole.replace(spoil["was"], spoil["now"], 1))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", spoil["test"]]
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    path.write_text(whole)
    return ended.returncode == RED


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
