"""A Prometheus beside the demonstration, where it is installed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from config import prometheus
from daemon.demo.processes import OWN_GROUP, DemoFailed, stop
from daemon.runtime.ports import free_port

SETTINGS: Final = """
global: {{scrape_interval: {every_s}s, evaluation_interval: {every_s}s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: meterd
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@contextmanager
def prometheus_beside(
    folder: Path,
    http_port: int,
    program: str | None,
    *,
    every_s: int = 5,
    rules: Path = prometheus.RULES,
) -> Iterator[str]:
    """The address of a Prometheus that asks the daemon so often and knows the rules.

    `program`: its path; DemoFailed where there is none."""
    if program is None:
        raise DemoFailed("there is no program `prometheus`: apt install prometheus")
    settings = folder / "prometheus.yml"
    said = SETTINGS.format(rules=rules, port=http_port, every_s=every_s)
    settings.write_text(said, encoding="utf-8")
    port = free_port()
    with (folder / "prometheus.log").open("ab") as log:
        running = subprocess.Popen(
            [
                program,
                f"--config.file={settings}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=log,
            process_group=OWN_GROUP,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(running)
