"""SQL lives in .sql files: one file per subject, one named block per question."""

from __future__ import annotations

import re
from importlib.resources import files

_HEAD = re.compile(r"^-- (?P<name>\w+) -- .+$", re.MULTILINE)


def load(subject: str) -> dict[str, str]:
    """The questions of `storage/<subject>.sql` by name; a block begins with `-- name -- intent`."""
    text = files("storage").joinpath(f"{subject}.sql").read_text(encoding="utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        head["name"]: text[head.end() : end].strip() for head, end in zip(heads, ends, strict=True)
    }
