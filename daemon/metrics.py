"""Every metric in one place. Labels are few and bounded: never an address, a point or a balance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, Summary, disable_created_metrics

# A counter that begins anew is seen by its value; when it began is one series more for each.
disable_created_metrics()

REPLY_OUTCOMES: Final = ("ok", "no_reply", "refused", "bad_frame", "late", "foreign")
"""Of requests on any line."""
GATEWAY_OUTCOMES: Final = ("subscription_refused", "wrong_date")
"""What gateways have besides."""

DAYS: Final[Mapping[str, int]] = {"0": 0, "1": 1, "2-6": 2, "7-29": 7, "30+": 30}
"""Classes of ages in days, with the first age of each."""


# --- lines and terminals
LINES = Gauge(
    "meterd_line_up",
    "1 while the line's channel is open; of a listener, how many terminals are.",
    ["line"],
)
PROGRESS = Gauge(
    "meterd_line_progress_timestamp_seconds",
    "When the line last took a step that shows it is alive.",
    ["line"],
)
LONGEST_STEP = Gauge(
    "meterd_line_longest_step_seconds",
    "How long the line may take between two steps: all tries of the questions for one freeze.",
    ["line"],
)
LINE_METERS = Gauge("meterd_line_meters", "Meters that the line has to read.", ["line"])
REPLIES = Counter(
    "meterd_replies_total", "Answers to requests, and their absence.", ["line", "outcome"]
)
BACKED_OFF = Gauge(
    "meterd_meters_backed_off", "Meters that do not answer and are probed now and then.", ["line"]
)
SILENT = Gauge(
    "meterd_line_silent", "1 while the channel is open and none of its meters answers.", ["line"]
)
FOREIGN_WRITES = Counter(
    "meterd_foreign_writes_total",
    "Frames on a line by which somebody else controls a meter or writes to it.",
    ["line"],
)
TERMINALS = Gauge(
    "meterd_terminals",
    "Terminals with a connection, connections that have not said whose they are, "
    "callers that are no line.",
    ["listener", "state"],
)
LISTENER_EVENTS = Counter(
    "meterd_listener_events_total", "What happened at a listener.", ["listener", "event"]
)
CLOCKS_SET = Counter(
    "meterd_clocks_set_total",
    "Meter clocks that were set, by what reading back showed.",
    ["outcome"],
)
IDENTITY_FINDINGS = Counter(
    "meterd_identity_findings_total",
    "Meters that told another serial, one that another told too, or that they deduct by themselves "
    "while they are billed.",
    ["rule"],
)

# --- collection
LINE_STORED = Gauge(
    "meterd_line_last_reading_timestamp_seconds",
    "When a reading of the line's meters was last stored; 0 before the first since the start.",
    ["line"],
)
WANTED = Gauge("meterd_slots_wanted", "Owed slots of the meters' memory without a value.", ["line"])
PRESENT = Gauge(
    "meterd_slots_present", "Owed slots of the meters' memory that have a value.", ["line"]
)
DAY_SLOTS = Gauge(
    "meterd_day_slots",
    "Freezes of the newest day (0) and the one before (1): owed, stored, "
    "and stored without a try in vain since the start.",
    ["line", "day", "state"],
)
MISSING = Gauge(
    "meterd_slots_missing",
    "Owed slots of the meters' memory without a value, by age in days.",
    ["days"],
)
LEAVING = Gauge(
    "meterd_slots_about_to_be_lost",
    "Freezes that were never read and cannot be had any more in 2 days.",
    ["line"],
)
SLOTS_LOST = Counter(
    "meterd_slots_lost_total",
    "Freezes that were never read and cannot be had any more.",
    ["line"],
)
HOST_FREEZES_MISSED = Counter(
    "meterd_host_freezes_missed_total",
    "Midnights of meters without memory that were not read in time.",
    ["line"],
)
UNPUBLISHED = Gauge(
    "meterd_slots_unpublished",
    "Days of the last 62 with a value that counts for nothing: withheld, refused, or lost.",
    ["state"],
)
SLOTS_DECIDED = Counter(
    "meterd_slots_decided_total", "Slots that show another state than before.", ["state"]
)

# --- storing
DATABASE_UP = Gauge(
    "meterd_database_up", "1 while readings are stored and the hold on the site is ours."
)
QUEUE = Gauge("meterd_pipeline_queue_readings", "Readings that wait to be stored.")
BATCHES = Counter("meterd_batches_total", "Batches of readings by how they ended.", ["outcome"])
BATCH_SECONDS = Histogram(
    "meterd_batch_duration_seconds",
    "Time to take a batch through all rooms.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
BATCH_READINGS = Histogram(
    "meterd_batch_readings",
    "Readings in a batch.",
    buckets=(1, 5, 10, 50, 100, 500, 1000, 5000, 10000),
)
UNSTORED_AGE = Gauge(
    "meterd_unstored_oldest_age_seconds",
    "Age of the oldest reading that waits to be stored, in memory or on disk; 0 without one.",
)
LAST_STORED = Gauge(
    "meterd_last_commit_timestamp_seconds", "When a batch of readings was last committed."
)
SPOOL_BYTES = Gauge("meterd_spool_bytes", "Size of the readings that wait on disk.")
SPOOL_MOST_BYTES = Gauge("meterd_spool_max_bytes", "Size that the spool may grow to.")
SPOOL_READINGS = Gauge("meterd_spool_readings", "Readings that wait on disk.")
SPOOL_DROPPED = Counter(
    "meterd_spool_dropped_total",
    "Readings for which the spool had no room, by whether the meter can tell them again.",
    ["kind"],
)
SPOOL_BAD = Counter(
    "meterd_spool_bad_total", "Records on disk that could not be read and were set aside."
)
DISK_FREE = Gauge(
    "meterd_disk_free_bytes", "Room on the disk of the data directory; NaN when it is gone."
)

# --- billing and money
POINTS = Gauge("meterd_points", "Points that a meter serves.")
STANDSTILL = Gauge(
    "meterd_standstill_points", "Points that are not billed to yesterday, by reason.", ["reason"]
)
STANDSTILL_AGE = Gauge(
    "meterd_standstill_oldest_days",
    "Days that the oldest of these points has been standing still; 0 without one.",
    ["reason"],
)
BALANCE_AGE = Gauge(
    "meterd_balance_age_points",
    "Points by how many days of use their account's balance does not know yet.",
    ["days"],
)
DAYS_NOT_CLOSED = Gauge(
    "meterd_days_not_closed", "Days of the site that are over for hours and not closed."
)
TO_SETTLE = Gauge("meterd_accounts_to_settle", "Accounts whose readings wait to be settled.")
TO_SETTLE_AGE = Gauge(
    "meterd_accounts_to_settle_oldest_age_seconds",
    "For how long the oldest of them has been waiting; 0 without one.",
)
ACCOUNTS = Gauge("meterd_accounts", "Accounts in use by their credit.", ["credit_state"])
BALANCES = Gauge(
    "meterd_balances_fen", "Sum of what customers have left, and of what they owe.", ["side"]
)
SETTLED_ONE_BY_ONE = Counter(
    "meterd_settled_one_by_one_total",
    "Accounts that were settled one by one because settling many at once failed.",
)
LEDGER_SUM = Gauge(
    "meterd_ledger_sum_fen", "Sum of all ledger balances; anything but 0 is an emergency."
)
LEDGER_FAULTS = Gauge(
    "meterd_ledger_faults", "Broken promises of the ledger by kind; all must be 0.", ["kind"]
)
POSTED = Counter("meterd_ledger_transactions_total", "Transactions that were posted.", ["kind"])
POSTED_FEN = Counter(
    "meterd_ledger_moved_fen_total", "What they moved on the account named first.", ["kind"]
)

# --- supply
SUPPLIES = Gauge("meterd_supply_points", "Points by how we hold their supply.", ["state"])
COMMANDS_OPEN = Gauge(
    "meterd_commands_open", "Supply commands that are not over.", ["action", "state"]
)
COMMAND_STEPS = Counter(
    "meterd_command_steps_total", "Steps that supply commands took.", ["action", "state"]
)
COMMAND_WAITS = Gauge(
    "meterd_command_oldest_wait_seconds",
    "How long the supply command that waits longest has been due; 0 without one.",
)
RECONNECTS_WAITING = Gauge(
    "meterd_reconnects_waiting",
    "Customers who are dark and whose reconnect was ordered, by how long ago.",
    ["age"],
)
RECONNECT_SECONDS = Histogram(
    "meterd_reconnect_duration_seconds",
    "From the order of a reconnect until the relay was read back closed.",
    buckets=(1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 3600, 14400, 86400),
)
SUPPLY_MARKS = Gauge(
    "meterd_supply_marks", "What keeps supplies from being cut now: holds, disputes, ...", ["kind"]
)
BREAKERS = Gauge("meterd_breakers_open", "Breakers that are open: nobody is cut.", ["scope"])
FIELD_JOBS = Gauge("meterd_field_jobs", "Open jobs for somebody who goes there.", ["kind"])
SHADOW_MODE = Gauge("meterd_shadow_mode", "1 while no command is sent.")
ALARMS = Gauge(
    "meterd_supply_alarms", "What a person has to know of supply, by kind; 0 is well.", ["alarm"]
)
ALARM_AGE = Gauge(
    "meterd_supply_alarm_oldest_seconds", "Age of the oldest of them; 0 without one.", ["alarm"]
)
STAFF_ALARMS = Gauge(
    "meterd_staff_alarms",
    "What nobody on call has acknowledged, by the level that was told last; 0: nobody was.",
    ["level"],
)
STAFF_ALARM_AGE = Gauge(
    "meterd_staff_alarm_oldest_seconds",
    "For how long the oldest of them has been waiting for somebody; 0 without one.",
)
NOTICES = Counter(
    "meterd_notices_total",
    "Notices by what became of them: sent, not taken by the channel, given up; and receipts.",
    ["channel", "outcome"],
)
NOTICES_WAITING = Gauge("meterd_notices_waiting", "Notices that wait to be sent.", ["channel"])
NOTICES_AGE = Gauge(
    "meterd_notices_waiting_age_seconds", "Age of the oldest notice that waits.", ["channel"]
)
NOTICES_SUCCESS = Gauge(
    "meterd_notices_last_success_timestamp_seconds",
    "When what was due was last made and sent; 0 where no channel is configured.",
)

# --- the daemon
BUILD = Gauge("meterd_build_info", "Always 1; the version is in the label.", ["version"])
HOST_CLOCK_DOUBTED = Gauge(
    "meterd_host_clock_doubted",
    "1 while the host's clock is not believed: no host freeze, no clock is set, nobody is cut.",
)
HOST_CLOCK_STEPS = Counter("meterd_host_clock_steps_total", "Steps of the host's wall clock.")
LOOP_LAG = Gauge("meterd_event_loop_lag_seconds", "How late what is due in the daemon is begun.")
TASK_RESTARTS = Counter(
    "meterd_task_restarts_total", "Tasks that died and were started again.", ["task"]
)
TICKS = Counter("meterd_ticks_total", "Scheduled ticks by how they ended.", ["tick", "outcome"])
TICK_SECONDS = Summary("meterd_tick_duration_seconds", "How long ticks took.", ["tick"])
TICK_PERIOD = Gauge("meterd_tick_period_seconds", "How often the tick is due.", ["tick"])
TICK_SUCCESS = Gauge(
    "meterd_tick_last_success_timestamp_seconds",
    "When the tick last did its work; 0 before the first time.",
    ["tick"],
)
RETENTION_DELETED = Counter(
    "meterd_retention_deleted_rows_total", "Rows deleted because their time is over.", ["table"]
)
RETENTION_OLDEST = Gauge(
    "meterd_retention_oldest_age_seconds",
    "Age of the oldest row of a table that is not kept for ever; 0 without one.",
    ["table"],
)
RETENTION_SUCCESS = Gauge(
    "meterd_retention_last_success_timestamp_seconds",
    "When everything whose time was over had been deleted.",
)
BACKUP_SUCCESS = Gauge(
    "meterd_backup_last_success_timestamp_seconds",
    "When the newest backup was made; 0 before the first, NaN where none is configured.",
)

_OF_A_LINE: Final[Mapping[Counter | Gauge, Sequence[Iterable[str]]]] = {
    LINES: (),
    PROGRESS: (),
    LONGEST_STEP: (),
    LINE_METERS: (),
    REPLIES: (REPLY_OUTCOMES,),
    BACKED_OFF: (),
    SILENT: (),
    FOREIGN_WRITES: (),
    LINE_STORED: (),
    WANTED: (),
    PRESENT: (),
    DAY_SLOTS: (("0", "1"), ("owed", "stored", "first_try")),
    LEAVING: (),
    SLOTS_LOST: (),
    HOST_FREEZES_MISSED: (),
}
"""With the values of their other labels."""


def born(metric: Counter | Gauge | Summary, *labels: Iterable[str]) -> None:
    """Its series of all these label values are there, at zero.

    One that appears with its first event hides that event from whoever asks for an increase."""
    for values in product(*labels):
        metric.labels(*values)


def show_line(name: str) -> None:
    """Something is shown under this name from now on."""
    for metric, labels in _OF_A_LINE.items():
        born(metric, [name], *labels)


def forget_line(name: str) -> None:
    """Nothing is shown under this name any more: it was taken out of the configuration."""
    # By each of its labels: a search by one of them goes through the series of all lines.
    for metric, labels in _OF_A_LINE.items():
        for values in product(*labels):
            metric.remove(name, *values)
    for outcome in GATEWAY_OUTCOMES:
        REPLIES.remove(name, outcome)
