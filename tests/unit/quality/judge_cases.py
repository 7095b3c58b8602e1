"""The worked cases of kind `judge`."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "data" / "judge_open.json"
CASES: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads(FILE.read_text("utf-8"))["cases"]
}
