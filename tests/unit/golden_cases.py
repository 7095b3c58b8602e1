"""The golden cases, for the tests of the pure rules and for those of the database."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("golden_open.json")
CASES: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads(FILE.read_text("utf-8"))["cases"]
}
