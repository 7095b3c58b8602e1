"""Every question of the pages for Grafana, asked of the demonstration. A program.

Run it: `make panels`. It starts `meterd demo --serve --prometheus`, waits until it is over, and
asks its Prometheus what is kept in config/grafana until each panel shows something. Prints how many
series each question is answered with; the exit code is 1 where one is not answered."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from config import prometheus
from tests.servers.commands import METERD
from tests.servers.packages import program

GRAFANA: Final = prometheus.RULES.parents[1] / "grafana"
PATIENCE_S: Final = 420.0
"""Who is not billed is looked for every five minutes."""
LOOK_S: Final = 5.0


def questions() -> Iterator[tuple[str, str, str]]:
    """(page, panel, what is asked) of all that is kept."""
    for path in sorted(GRAFANA.glob("*.json")):
        page = json.loads(path.read_text(encoding="utf-8"))
        for panel in page["panels"]:
            for target in panel.get("targets", ()):
                yield path.stem, panel["title"], target["expr"]


def series(prometheus_at: str, expression: str) -> int:
    """How many series it is answered with now."""
    asked = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{prometheus_at}/api/v1/query?{asked}", timeout=10) as answer:
        found: list[Any] = json.load(answer)["data"]["result"]
    return len(found)


def ask_all(prometheus_at: str) -> bool:
    """Print each with how many series answer it; True when every one is answered."""
    waiting = list(questions())
    give_up_at = time.monotonic() + PATIENCE_S
    while waiting and time.monotonic() < give_up_at:
        for it in list(waiting):
            page, panel, expression = it
            if count := series(prometheus_at, expression):
                print(f"{page}\t{panel}\t{count}\t{expression}", flush=True)
                waiting.remove(it)
        if waiting:
            time.sleep(LOOK_S)
    for page, panel, expression in waiting:
        print(f"EMPTY: {page}\t{panel}\t{expression}")
    return not waiting


def main() -> None:
    """Start the demonstration, ask, and end it."""
    program("prometheus", ["prometheus"])
    with tempfile.TemporaryDirectory(prefix="meterd-", dir="/tmp") as folder:
        demo = subprocess.Popen(
            [METERD, "demo", "--serve", "--prometheus", "--folder", str(Path(folder, "demo"))],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert demo.stdout is not None
            told = next(
                (it for line in demo.stdout if (it := re.search(r"(http\S+)/alerts", line))), None
            )
            assert told is not None, "the demonstration ended"
            is_answered = ask_all(told[1])
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.communicate()
    sys.exit(not is_answered)


if __name__ == "__main__":
    main()
