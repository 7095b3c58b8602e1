"""A certificate as a page: what was asked, what came, and what a good meter does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from daemon.field.certify.suite import Change

STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #ccc; padding: .35rem .6rem; text-align: left; }
td { vertical-align: top; }
.passed { color: #17692f; } .failed { color: #b3261e; font-weight: 600; }
pre { background: #f4f4f4; padding: .5rem; white-space: pre-wrap; }
"""


def page(certificate: Mapping[str, Any], changes: Sequence[Change] = ()) -> str:
    """The certificate that `meterd certify --json` prints, as HTML that needs no other file."""
    title = f"{certificate['suite']}: {certificate['meter']}"
    rows = "\n".join(map(_row, certificate["results"]))
    head = ", ".join(f"{count} {verdict}" for verdict, count in certificate["counts"].items())
    label = f" {certificate['label']}," if certificate["label"] else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>{escape(label)} {escape(certificate["at"])}: {escape(head)}</p>
{_changes(changes)}
<table><tr><th>check</th><th>a good meter</th><th>verdict</th><th>what came</th></tr>
{rows}
</table></body></html>
"""


def _row(result: Mapping[str, Any]) -> str:
    verdict = result["verdict"]
    frames = "\n".join(
        f"{frame['at_s']:8.3f} {'->' if frame['direction'] == 'tx' else '<-'} {frame['bytes']}"
        for frame in result["frames"]
    )
    shown = f"<details><summary>frames</summary><pre>{escape(frames)}</pre></details>"
    return (
        f"<tr><td>{escape(result['name'])}</td><td>{escape(result['claim'])}</td>"
        f'<td class="{escape(verdict)}">{escape(verdict)}</td>'
        f"<td>{escape(result['detail'])}{shown if frames else ''}</td></tr>"
    )


def _changes(changes: Sequence[Change]) -> str:
    if not changes:
        return ""
    rows = "".join(
        f"<tr><td>{escape(change.name)}</td><td>{escape(change.before)}</td>"
        f"<td>{escape(change.now)}</td><td>{escape(change.detail)}</td></tr>"
        for change in changes
    )
    head = "<tr><th>check</th><th>before</th><th>now</th><th>what came</th></tr>"
    return f"<h2>Differences</h2><table>{head}{rows}</table>"
