"""What the commands about values share: how registers, states and reads are typed and shown, and
what the rule of tasks is asked with."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from config.point_limit import TOLD
from daemon.quality.codes import code_of
from daemon.quality.tasks import Beside, Doubtful, Waiting
from storage.doubts import DoubtRow
from storage.history import ReadVersion, SlotVersion
from storage.readings import Kind, Source

SOURCES: Final = {
    Source.METER: "frozen by the meter",
    Source.HOST: "read at midnight",
    Source.ON_DEMAND: "on demand",
}
KINDS: Final = {
    Kind.DAILY_FREEZE: "daily freeze",
    Kind.MONTH_END: "month-end freeze",
    Kind.CURRENT: "current",
}


def kwh(steps: int | None, decimals: int | None) -> str | None:
    """A register as persons write it."""
    return None if steps is None else f"{Decimal(steps).scaleb(-(decimals or 0)):f}"


def slot_row(slot: SlotVersion) -> dict[str, Any]:
    """What a day shows, or showed."""
    return {
        "day": slot.day,
        "state": slot.state,
        "register": kwh(slot.total, slot.decimals),
        "revision": slot.revision,
        "reading": slot.reading_id,
        "codes": " ".join(slot.codes) or None,
        "next": slot.next_step,
        "held": slot.hold,
        "rules": slot.rule_set,
        "until": slot.until,
        "changed by": slot.changed_by,
    }


def read_row(read: ReadVersion, zone: ZoneInfo) -> dict[str, Any]:
    """One read, its stamp in the meter's own wall clock."""
    stamp = "00:00" if read.stamp is None else f"{read.stamp.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    return {
        "day": read.day,
        "kind": KINDS[Kind(read.kind)],
        "register": kwh(read.total, read.decimals) or "refused",
        "rates": [kwh(rate, read.decimals) for rate in read.rates if rate is not None],
        "meter": read.meter,
        "source": SOURCES[Source(read.source)],
        "read at": read.read_at.astimezone(zone),
        "stamp": stamp,
        "skew s": read.skew_s,
        "offset ms": read.host_offset_ms,
        "decode version": read.decode_version,
        "reading": read.reading_id,
        "shown": read.is_chosen,
        "line": read.line,
        "told by": read.far_end,
        "terminal": read.terminal,
        "session": None if read.session_at is None else read.session_at.astimezone(zone),
        "certificate": read.certificate,
    }


def doubtful_of(row: DoubtRow) -> Doubtful:
    """A row of the database as the rule of tasks wants it."""
    before = _beside(row, row.before_day, row.before, row.before_is_substitute)
    behind = _beside(row, row.behind_day, row.behind, row.behind_is_substitute)
    said = None
    if row.said_day is not None:
        said = (row.said_day, row.kwh(row.said_total) or "")
    return Doubtful(
        point=row.point,
        first_day=row.day,
        last_day=row.day,
        state=row.state,
        total=row.kwh(row.total) or "",
        codes=tuple(map(code_of, row.codes)),
        next_step=row.next_step,
        hold=row.hold,
        held_from=row.held_from if row.hold is not None else None,
        before=before,
        behind=behind,
        waiting=_waiting(row),
        skew_s=row.skew_s,
        confirmed=said,
        found=row.found,
        limit_basis=row.limit_basis or TOLD,
        document=row.document,
    )


def _beside(
    row: DoubtRow, day: date | None, total: int | None, is_substitute: bool | None
) -> Beside | None:
    if day is None:
        return None
    return Beside(day, row.kwh(total) or "", is_substitute=bool(is_substitute))


def _waiting(row: DoubtRow) -> Waiting | None:
    if row.waiting is None:
        return None
    maker, action = row.waiting_maker or "", row.waiting_action or ""
    return Waiting(row.waiting, maker, action, row.kwh(row.waiting_total))
