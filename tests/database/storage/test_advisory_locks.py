"""The advisory locks of the database: no two are one by their numbers."""

from __future__ import annotations

from storage import amnesties, chains, migrations, site_lock, supply

LOCKS = {
    "migrations": migrations.LOCK,
    "chains": chains.CHAIN_LOCK,
    "site": site_lock.SITE_LOCK,
    "trips": supply.TRIP_LOCK,
    "ramps": amnesties.RAMP_LOCK,
}


def test_each_lock_has_a_number_of_its_own() -> None:
    # The site is held as long as a daemon runs: whoever waits for that number waits as long.
    assert len(set(LOCKS.values())) == len(LOCKS)
    assert min(LOCKS.values()) > 0, "negative ones are tokens of the site"
