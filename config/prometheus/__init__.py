"""Rules for Prometheus: what is worth an alarm, and what dashboards ask for often."""

from pathlib import Path
from typing import Final

RULES: Final = Path(__file__).with_name("rules.yml")
