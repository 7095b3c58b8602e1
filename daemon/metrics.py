"""Every metric in one place. Labels are few and bounded: never an address, a point or a balance."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

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
REPLIES = Counter(
    "meterd_replies_total", "Answers to requests, and their absence.", ["line", "outcome"]
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
WANTED = Gauge("meterd_slots_wanted", "Owed slots of the meters' memory without a value.", ["line"])
PRESENT = Gauge(
    "meterd_slots_present", "Owed slots of the meters' memory that have a value.", ["line"]
)
BACKED_OFF = Gauge(
    "meterd_meters_backed_off", "Meters that do not answer and are probed now and then.", ["line"]
)
SILENT = Gauge(
    "meterd_line_silent", "1 while the channel is open and none of its meters answers.", ["line"]
)
HOST_FREEZES_MISSED = Counter(
    "meterd_host_freezes_missed_total",
    "Midnights of meters without memory that were not read in time.",
    ["line"],
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
TERMINALS = Gauge(
    "meterd_terminals",
    "Terminals with a connection, connections that have not said whose they are, "
    "callers that are no line.",
    ["listener", "state"],
)
LISTENER_EVENTS = Counter(
    "meterd_listener_events_total", "What happened at a listener.", ["listener", "event"]
)
SLOTS_DECIDED = Counter(
    "meterd_slots_decided_total", "Slots that show another state than before.", ["state"]
)
STANDSTILL = Gauge(
    "meterd_standstill_points", "Points that are not billed to yesterday, by reason.", ["reason"]
)
STANDSTILL_AGE = Gauge(
    "meterd_standstill_oldest_days",
    "Days that the oldest of these points has been standing still; 0 without one.",
    ["reason"],
)
DAYS_NOT_CLOSED = Gauge(
    "meterd_days_not_closed", "Days of the site that are over for hours and not closed."
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
SPOOL_READINGS = Gauge("meterd_spool_readings", "Readings that wait on disk.")
DISK_FREE = Gauge("meterd_disk_free_bytes", "Room on the disk of the data directory.")
SPOOL_DROPPED = Counter(
    "meterd_spool_dropped_total",
    "Readings for which the spool had no room, by whether the meter can tell them again.",
    ["kind"],
)
SPOOL_BAD = Counter(
    "meterd_spool_bad_total", "Records on disk that could not be read and were set aside."
)
LEDGER_SUM = Gauge(
    "meterd_ledger_sum_fen", "Sum of all ledger balances; anything but 0 is an emergency."
)
LEDGER_FAULTS = Gauge(
    "meterd_ledger_faults", "Broken promises of the ledger by kind; all must be 0.", ["kind"]
)
LEDGER_TRANSACTIONS = Gauge("meterd_ledger_transactions", "Transactions in the ledger.")
COMMANDS = Gauge("meterd_commands", "Supply commands by action and state.", ["action", "state"])
ALARMS = Gauge(
    "meterd_supply_alarms", "What a person has to know of supply, by kind; 0 is well.", ["alarm"]
)
ALARM_AGE = Gauge(
    "meterd_supply_alarm_oldest_seconds", "Age of the oldest of them; 0 without one.", ["alarm"]
)
FOREIGN_WRITES = Counter(
    "meterd_foreign_writes_total",
    "Frames on a line by which somebody else controls a meter or writes to it.",
    ["line"],
)
HOST_CLOCK_DOUBTED = Gauge(
    "meterd_host_clock_doubted",
    "1 while the host's clock is not believed: no host freeze, no clock is set, nobody is cut.",
)
HOST_CLOCK_STEPS = Counter("meterd_host_clock_steps_total", "Steps of the host's wall clock.")
TASK_RESTARTS = Counter(
    "meterd_task_restarts_total", "Tasks that died and were started again.", ["task"]
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
TICKS = Counter("meterd_ticks_total", "Scheduled ticks by how they ended.", ["tick", "outcome"])
ACHIEVED = Gauge(
    "meterd_achieved_timestamp_seconds",
    "When what the daemon is there for was last achieved.",
    ["purpose"],
)
COMMAND_WAITS = Gauge(
    "meterd_command_oldest_wait_seconds",
    "How long the supply command that waits longest has been due; 0 without one.",
)
BACKUP_SUCCESS = Gauge(
    "meterd_backup_last_success_timestamp_seconds",
    "When the newest backup in backup.directory was made; 0 before the first, and without one.",
)
BUILD = Gauge("meterd_build_info", "Always 1; the version is in the label.", ["version"])


def forget_line(name: str) -> None:
    """Nothing is shown under this name any more: it was taken out of the configuration."""
    for metric in (
        LINES,
        PROGRESS,
        REPLIES,
        WANTED,
        PRESENT,
        BACKED_OFF,
        SILENT,
        HOST_FREEZES_MISSED,
        LEAVING,
        SLOTS_LOST,
        FOREIGN_WRITES,
    ):
        metric.remove_by_labels({"line": name})
