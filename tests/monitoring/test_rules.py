"""Each alert is told by promtool of its first event after a start, of flapping, of a daemon that is
gone, and of its end."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from config import prometheus
from tests.servers.packages import program

DOCS = Path(__file__).parents[2] / "docs"
AT = {"job": "meterd", "instance": "127.0.0.1:9645"}
HOUR = 60
LONG = 30
"""Minutes between two looks at what lasts for hours."""
DAY = 24 * HOUR // LONG
AWAY = "stale"
"""What promtool calls a series that is there no more."""

Kind = Literal["state", "counter", "timestamp"]


@dataclass(frozen=True)
class Case:
    """A series that shows a fault, in steps of so many minutes.

    `state`: its value is `well` or `ill`; `counter`: each step of the fault is an event;
    `timestamp`: it goes with the clock, and stands still in the fault. `holds`: the fault must last
    so long before the alert fires; `lasts`: it fires so long after the fault. `beside`: series that
    are the same whatever happens."""

    series: str
    kind: Kind = "state"
    well: float = 0
    ill: float = 1
    holds: int = 0
    lasts: int = 0
    step: int = 1
    beside: Mapping[str, float] | None = None

    def values(self, faults: Sequence[bool]) -> list[float]:
        """One for each step."""
        found: list[float] = []
        value = 0.0
        for number, is_fault in enumerate(faults):
            match self.kind:
                case "state":
                    value = self.ill if is_fault else self.well
                case "counter":
                    value += is_fault
                case "timestamp":
                    value = value if is_fault and number else 60.0 * self.step * number + 1
            found.append(value)
        return found


CASES: Mapping[str, Case] = {
    "MeterdDown": Case("up", well=1, ill=0, holds=2),
    "MeterdTaskDied": Case('meterd_task_restarts_total{task="line"}', "counter", lasts=HOUR),
    "MeterdTickLate": Case(
        'meterd_tick_last_success_timestamp_seconds{tick="standstill"}',
        "timestamp",
        holds=16,
        beside={
            'meterd_tick_period_seconds{tick="standstill"}': 300,
            "process_start_time_seconds": 0,
        },
    ),
    "MeterdLoopLate": Case("meterd_event_loop_lag_seconds", well=0.01, ill=0.6, holds=10),
    "MeterdClockDoubted": Case("meterd_host_clock_doubted", holds=5),
    "MeterdClockStepped": Case("meterd_host_clock_steps_total", "counter", lasts=HOUR),
    "MeterdBackupOld": Case(
        "meterd_backup_last_success_timestamp_seconds", "timestamp", holds=2 * DAY + 2, step=LONG
    ),
    "MeterdDatabaseAway": Case("meterd_database_up", well=1, ill=0, holds=1),
    "MeterdReadingsWait": Case("meterd_unstored_oldest_age_seconds", ill=601),
    "MeterdSpoolFills": Case(
        "meterd_spool_bytes", ill=600, beside={"meterd_spool_max_bytes": 1000}
    ),
    "MeterdReadingsDropped": Case(
        'meterd_spool_dropped_total{kind="without_memory"}', "counter", lasts=DAY, step=LONG
    ),
    "MeterdSpoolBad": Case("meterd_spool_bad_total", "counter", lasts=DAY, step=LONG),
    "MeterdDeadLetter": Case(
        'meterd_batches_total{outcome="dead_letter"}', "counter", lasts=DAY, step=LONG
    ),
    "MeterdDiskFull": Case("meterd_disk_free_bytes", well=2**34, ill=2**29, holds=5),
    "MeterdLineDown": Case('meterd_line_up{line="gate-1"}', well=1, ill=0, holds=15),
    "MeterdLineSilent": Case('meterd_line_silent{line="gate-1"}', holds=15),
    "MeterdLineStuck": Case(
        'meterd_line_progress_timestamp_seconds{line="gate-1"}',
        "timestamp",
        holds=10,
        beside={
            'meterd_line_up{line="gate-1"}': 1,
            'meterd_line_longest_step_seconds{line="gate-1"}': 600,
        },
    ),
    "MeterdMetersSilent": Case(
        'meterd_meters_backed_off{line="gate-1"}',
        well=1,
        ill=2,
        holds=HOUR,
        beside={'meterd_line_meters{line="gate-1"}': 10},
    ),
    "MeterdFreezesMissing": Case(
        'meterd_day_slots{line="gate-1",day="0",state="stored"}',
        well=98,
        ill=97,
        holds=4 * HOUR // LONG,
        step=LONG,
        beside={'meterd_day_slots{line="gate-1",day="0",state="owed"}': 100},
    ),
    "MeterdFreezesLeaving": Case('meterd_slots_about_to_be_lost{line="gate-1"}'),
    "MeterdFreezesLost": Case(
        'meterd_slots_lost_total{line="gate-1"}', "counter", lasts=DAY, step=LONG
    ),
    "MeterdMidnightMissed": Case(
        'meterd_host_freezes_missed_total{line="gate-1"}', "counter", lasts=DAY, step=LONG
    ),
    "MeterdForeignWrites": Case(
        'meterd_foreign_writes_total{line="gate-1"}', "counter", lasts=HOUR
    ),
    "MeterdAnotherMeter": Case(
        'meterd_identity_findings_total{rule="V03"}', "counter", lasts=DAY, step=LONG
    ),
    "MeterdNoDescriptors": Case(
        'meterd_listener_events_total{listener="gprs",event="no_descriptors"}',
        "counter",
        lasts=HOUR,
    ),
    "MeterdLedgerWrong": Case(
        'meterd_ledger_faults{kind="wrong_balances"}', beside={"meterd_ledger_sum_fen": 0}
    ),
    "MeterdNotBilled": Case('meterd_standstill_oldest_days{reason="withheld"}', well=3, ill=4),
    "MeterdValuesWithheld": Case('meterd_slots_unpublished{state="suspect"}', holds=DAY, step=LONG),
    "MeterdDaysNotClosed": Case("meterd_days_not_closed", holds=15),
    "MeterdSettlementWaits": Case("meterd_accounts_to_settle_oldest_age_seconds", ill=3601),
    "MeterdSettledOneByOne": Case(
        "meterd_settled_one_by_one_total", "counter", lasts=DAY, step=LONG
    ),
    "MeterdSupplyAlarm": Case('meterd_supply_alarms{alarm="reconnect_late"}', holds=1),
    "MeterdNobodyTakesIt": Case("meterd_staff_alarm_oldest_seconds", ill=3601),
    "MeterdCommandWaits": Case(
        "meterd_command_oldest_wait_seconds", ill=301, beside={"meterd_shadow_mode": 0}
    ),
    "MeterdCommandRefused": Case(
        'meterd_command_steps_total{action="trip",state="refused"}', "counter", lasts=HOUR
    ),
    "MeterdNoticesWait": Case(
        'meterd_notices_waiting_age_seconds{channel="sms"}', ill=13 * 3600 + 1
    ),
    "MeterdNoticesFail": Case(
        'meterd_notices_total{channel="sms",outcome="failed"}', "counter", lasts=HOUR
    ),
}
ALONE = {"MeterdRestarts"}
"""Told by a test of its own."""


@dataclass(frozen=True)
class Look:
    """How often an alert fired in so many steps up to this one."""

    alert: str
    step: int
    steps: int
    times: int


def series_at(name: str) -> str:
    """A series with the labels that a scrape gives it."""
    labels = ",".join(f'{key}="{value}"' for key, value in AT.items())
    metric, _, own = name.partition("{")
    return f"{metric}{{{own.removesuffix('}')}{',' if own else ''}{labels}}}"


def story(case: Case, faults: Sequence[bool], looks: Sequence[Look], away: int = 0) -> Any:
    """A promtool test of one series; `away`: for so many steps at the end nobody answers."""
    shown = {case.series: case.values(faults)}
    shown |= {name: [value] * len(faults) for name, value in (case.beside or {}).items()}
    inputs = [
        {
            "series": series_at(name),
            "values": " ".join([*map(str, values), *[AWAY] * bool(away)]),
        }
        for name, values in shown.items()
    ]
    if case.series != "up":
        ups = [1] * len(faults) + [0] * away
        inputs.append({"series": series_at("up"), "values": " ".join(map(str, ups))})
    return {
        "interval": f"{case.step}m",
        "input_series": inputs,
        "promql_expr_test": [
            {
                "expr": f'sum(count_over_time(ALERTS{{alertname="{look.alert}",'
                f'alertstate="firing"}}[{60 * look.steps * case.step - 1}s])) or vector(0)',
                "eval_time": f"{look.step * case.step}m",
                "exp_samples": [{"labels": "{}", "value": look.times}],
            }
            for look in looks
        ],
    }


def checked(tests: Sequence[Any], folder: Path, step: int = 1) -> None:
    """AssertionError with what promtool says."""
    file = folder / "rules_test.json"
    rules = prometheus.RULES.read_text(encoding="utf-8")
    form = {
        "rule_files": [str(prometheus.RULES)],
        "evaluation_interval": f"{step}m",
        # What is recorded is there before an alert asks for it: a group not named counts as first too.
        "group_eval_order": re.findall(r"^  - name: (\S+)$", rules, re.MULTILINE),
        "tests": tests,
    }
    file.write_bytes(msgspec.json.encode(form))
    promtool = program("promtool", ["prometheus"])
    done = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> dict[str, str]:
    """The text of each alert by its name."""
    blocks = prometheus.RULES.read_text(encoding="utf-8").split("- alert: ")[1:]
    return {block.split(maxsplit=1)[0]: block for block in blocks}


def test_every_alert_has_its_case() -> None:
    assert set(alerts()) == set(CASES) | ALONE


def test_every_alert_names_the_page_that_says_what_to_do() -> None:
    page = (DOCS / "alarms.md").read_text(encoding="utf-8")
    titles = {title.lower() for title in re.findall(r"^## (Meterd\w+)$", page, re.MULTILINE)}
    named = {
        name: re.findall(r"runbook_url: docs/alarms\.md#(\w+)$", text, re.MULTILINE)
        for name, text in alerts().items()
    }
    assert named == {name: [name.lower()] for name in alerts()}
    assert titles == {name.lower() for name in alerts()}


def first_event_and_end(alert: str, case: Case) -> Any:
    """It fires when the fault has lasted, not before, and ends."""
    fires = 1 + case.holds
    faults = [False] + [True] * (case.holds + 1 if case.kind != "counter" else 1)
    ends = len(faults) + case.lasts
    looks = [Look(alert, fires, 1, 1), Look(alert, ends + 2, 1, 0)]
    if case.holds:
        looks.append(Look(alert, fires - 1, fires, 0))
    return story(case, faults + [False] * (case.lasts + 5), looks)


def flapping(alert: str, case: Case) -> Any:
    """What has to last does not fire; what is an event fires once and without a gap."""
    if case.kind == "counter":
        faults = [False] + [True, False, False] * 3 + [False] * 3
        looks = [Look(alert, len(faults) - 1, len(faults) - 1, len(faults) - 1)]
    else:
        short = [True] * case.holds + [False] * 2
        faults = [False] + short * 3
        looks = [Look(alert, len(faults) - 1, len(faults), 0)]
    return story(case, faults, looks)


def gone(alert: str, case: Case) -> Any:
    """Of a daemon that does not answer that is the only alarm but for events of before."""
    faults = [False] + [True] * (case.holds + 1)
    looks = [Look(alert, len(faults) - 1, 1, 1), Look("MeterdDown", len(faults) + 3, 1, 1)]
    if case.kind != "counter":
        looks.append(Look(alert, len(faults) + 3, 1, 0))
    return story(case, faults, looks, away=10)


@pytest.mark.parametrize("tell", [first_event_and_end, flapping, gone])
@pytest.mark.parametrize("step", [1, LONG])
def test_every_alert(tell: Callable[[str, Case], Any], step: int, tmp_path: Path) -> None:
    told = [
        tell(alert, case)
        for alert, case in CASES.items()
        if case.step == step and not (tell is gone and alert == "MeterdDown")
    ]
    checked(told, tmp_path, step)


def test_a_daemon_that_is_started_again_and_again_is_told(tmp_path: Path) -> None:
    starts = Case("process_start_time_seconds", "counter", lasts=30)
    once = story(starts, [False, True] + [False] * 40, [Look("MeterdRestarts", 41, 42, 0)])
    often = [False] + [True, False] * 3 + [False] * 40
    looks = [Look("MeterdRestarts", 6, 1, 1), Look("MeterdRestarts", 45, 1, 0)]
    checked([once, story(starts, often, looks)], tmp_path)


def test_what_was_never_done_since_a_start_is_late_after_half_an_hour(tmp_path: Path) -> None:
    never = Case(
        'meterd_tick_last_success_timestamp_seconds{tick="retention"}',
        beside={
            'meterd_tick_period_seconds{tick="retention"}': 86400,
            "process_start_time_seconds": 0,
        },
    )
    looks = [Look("MeterdTickLate", 30, 31, 0), Look("MeterdTickLate", 31, 1, 1)]
    checked([story(never, [False] * 40, looks)], tmp_path)


def test_a_disk_that_cannot_be_seen_is_told_like_a_full_one(tmp_path: Path) -> None:
    gone = Case("meterd_disk_free_bytes", well=2**34, ill=float("nan"), holds=5)
    checked([story(gone, [True] * 10, [Look("MeterdDiskFull", 6, 1, 1)])], tmp_path)


def test_without_a_directory_of_backups_none_is_missed(tmp_path: Path) -> None:
    none = Case("meterd_backup_last_success_timestamp_seconds", ill=float("nan"), step=LONG)
    steps = 3 * DAY
    looks = [Look("MeterdBackupOld", steps - 1, steps, 0)]
    checked([story(none, [True] * steps, looks)], tmp_path, LONG)
