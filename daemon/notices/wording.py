"""What a notice says, with amounts and times as customers read them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from config.notice_texts import NoticeTexts
from daemon.notices.due import AccountToTell, Occasion


def yuan(fen: int) -> str:
    """Integer fen in yuan: -120 -> -1.20."""
    whole, rest = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{whole}.{rest:02d}"


def minute(at: datetime, zone: tzinfo) -> str:
    """A moment of the site, to the minute."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


@dataclass(frozen=True, slots=True)
class SiteWords:
    """What a site says of itself in one language."""

    how_to_pay: str
    how_to_complain: str


def notice_text(
    account: AccountToTell,
    occasion: Occasion,
    texts: NoticeTexts,
    words: SiteWords,
    zone: tzinfo,
) -> str:
    """Title and text of a notice, on a line of its own each."""
    values = {
        "account": account.account,
        "balance": yuan(account.balance_fen),
        "missing": yuan(account.missing_fen),
        "warn": yuan(account.warn_fen),
        # Below the threshold at which it is cut it lasts no more, if credit still keeps it on.
        "days_left": "" if account.days_left is None else str(max(account.days_left, 0)),
        "since": _minute(account.episode_started_at, zone),
        "deadline": _minute(occasion.deadline_at, zone),
        "planned": _minute(occasion.planned_at or occasion.deadline_at, zone),
        "cycle_end": str(occasion.cycle_ends_on or ""),
        "suggested": yuan(occasion.suggested_fen),
        "how_to_pay": words.how_to_pay,
        "how_to_complain": words.how_to_complain,
        "how_to_restore": texts.fill("how_to_restore", account.reconnect, {}),
    }
    title = texts.fill(occasion.text, "title", values)
    return f"{title}\n{texts.fill(occasion.text, 'text', values)}"


def _minute(at: datetime | None, zone: tzinfo) -> str:
    return "-" if at is None else minute(at, zone)
