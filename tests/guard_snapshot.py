"""The document that is kept of a verdict, in which everything speaks for a cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

NOW: Final = datetime(2026, 3, 11, 2, 0, tzinfo=UTC)
"""Wednesday, 10:00 in Shanghai."""
HOUR: Final = timedelta(hours=1)
SECOND: Final = timedelta(seconds=1)


def told(moment: datetime) -> str:
    return moment.isoformat()


def good() -> dict[str, Any]:
    """Everything speaks for it."""
    return {
        "decision": "allow",
        "reasons": [],
        "policy": {
            "max_reading_age": 36 * 3600.0,
            "window_start": "09:00:00",
            "window_end": "15:00:00",
            "working_days_only": True,
            "no_trip_on_eve": True,
            "holidays": ["2026-03-20"],
            "makeup_workdays": ["2026-03-14"],
            "written_required": True,
            "written_min": 72 * 3600.0,
            "written_max": 168 * 3600.0,
            "final_required": True,
            "final_min": 1800.0,
            "final_max": 24 * 3600.0,
            "approvals_required": 2,
            "approvals_of_several": 1,
            "shadow": False,
            "min_debt_fen": 500,
            "startup_hold": 900.0,
            "max_relay_age": None,
            "max_failed_restores": 5,
            "max_moves_per_hour": 2,
            "max_moves_per_day": 6,
            "max_clocks_apart": 5.0,
            "new_tariff_days": 2,
        },
        "facts": {
            "now": told(NOW),
            "zone": "Asia/Shanghai",
            "balance_fen": -1250,
            "trip_threshold_fen": 0,
            "credit_limit_fen": 0,
            "emergency_available_fen": 0,
            "account_state": "active",
            "has_agreement": True,
            "reading_state": "published",
            "last_reading_at": told(NOW - 10 * HOUR),
            "span_grace_until": None,
            "use_jump": False,
            "correction_open": False,
            "tariff_from": "2026-01-01",
            "episode_started_at": told(NOW - 120 * HOUR),
            "notices": [
                {"kind": "written", "delivered_at": told(NOW - 97 * HOUR), "planned_at": None},
                {"kind": "final", "delivered_at": told(NOW - HOUR), "planned_at": None},
            ],
            "protected": False,
            "life_support": False,
            "held": False,
            "locked": False,
            "dispute_open": False,
            "payment_in_flight": False,
            "weather_hold": False,
            "planned_outage": False,
            "reconnect_pending": False,
            "failed_restores": 0,
            "has_relay": True,
            "relay_open": False,
            "device_keep_power": False,
            "relay_seen_at": told(NOW - HOUR),
            "relay_moves": [],
            "source_changed": False,
            "breaker_open": False,
            "shadow_mode": False,
            "running_for": 86_400.0,
            "clocks_apart": 0.1,
            "clock_stepped_at": None,
            "meters": 1,
            "cause": "arrears",
            "requested_by": "daemon",
            "approvals": [
                {
                    "approver": name,
                    "approved_at": told(NOW - HOUR),
                    "expires_at": told(NOW + HOUR),
                    "debt_fen": 1250,
                }
                for name in ("li", "wang")
            ],
        },
    }
