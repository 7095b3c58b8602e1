"""A Prometheus beside the demonstration, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from config import prometheus
from daemon.demo.processes import DemoFailed, free_port, stop

SETTINGS: Final = """
global: {{scrape_interval: 5s, evaluation_interval: 5s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: meterd
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@contextmanager
def prometheus_beside(folder: Path, http_port: int) -> Iterator[str]:
    """The address of a Prometheus that asks the daemon every 5 s and knows the rules.

    DemoFailed where none is installed."""
    program = shutil.which("prometheus")
    if program is None:
        raise DemoFailed("there is no program `prometheus`: apt install prometheus")
    settings = folder / "prometheus.yml"
    settings.write_text(SETTINGS.format(rules=prometheus.RULES, port=http_port), encoding="utf-8")
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
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(running)
