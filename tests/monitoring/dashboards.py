"""The dashboards for Grafana, made here and kept as JSON in config/grafana.

    python -m tests.monitoring.dashboards

Every query is told with what it shows; there is no other place for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardSpecialValueMapOptions,
    DataSourceRef,
    SpecialValueMap,
    SpecialValueMatch,
    ValueMappingResult,
)

FOLDER: Final = Path(__file__).parents[2] / "config" / "grafana"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH: Final = 24
NOT_TO_BE_HAD: Final = SpecialValueMap(
    DashboardSpecialValueMapOptions(
        match=SpecialValueMatch.NA_N, result=ValueMappingResult(text="not known")
    )
)
"""What is shown of a figure that is NaN, as of backups where no directory is configured."""


@dataclass(frozen=True)
class Panel:
    """One question, or several, over time. `now`: only what holds now is shown, as a figure."""

    title: str
    queries: Sequence[tuple[str, str]]
    """(expression, what its series are called)."""
    unit: str = "short"
    now: bool = False
    width: int = 8


@dataclass(frozen=True)
class Board:
    """One page; the first words of `panels` are read first."""

    uid: str
    title: str
    panels: Sequence[Panel]


def now(title: str, expression: str, unit: str = "short") -> Panel:
    return Panel(title, [(expression, title)], unit, now=True, width=4)


BOARDS: Final = (
    Board(
        "meterd-site",
        "meterd: site",
        [
            now("answers", 'up{job="meterd"}'),
            now("stores", "meterd_database_up"),
            now("billed to yesterday", "site:meterd_billed_to_yesterday:ratio", "percentunit"),
            now("today's freezes", 'site:meterd_day_completeness:ratio{day="0"}', "percentunit"),
            now("dark", 'sum without (state) (meterd_supply_points{state!="energised"})'),
            now("supply alarms", "sum without (alarm) (meterd_supply_alarms)"),
            Panel(
                "alarms",
                [
                    (
                        'count by (alertname) (ALERTS{job="meterd",alertstate="firing"}) or vector(0)',
                        "{{alertname}}",
                    )
                ],
                width=12,
            ),
            Panel(
                "freezes stored",
                [("site:meterd_day_completeness:ratio", "day -{{day}}")],
                "percentunit",
                width=12,
            ),
            Panel("not billed, by reason", [("meterd_standstill_points", "{{reason}}")]),
            Panel("accounts", [("meterd_accounts", "{{credit_state}}")]),
            Panel("supply", [("meterd_supply_points", "{{state}}")]),
        ],
    ),
    Board(
        "meterd-collection",
        "meterd: collection quality",
        [
            Panel(
                "freezes of a day stored",
                [("line:meterd_day_completeness:ratio", "{{line}} -{{day}}")],
                "percentunit",
                width=12,
            ),
            Panel(
                "came at the first try",
                [("line:meterd_day_first_try:ratio", "{{line}} -{{day}}")],
                "percentunit",
                width=12,
            ),
            Panel("missing, by age in days", [("meterd_slots_missing", "{{days}}")]),
            Panel(
                "with a value that counts for nothing", [("meterd_slots_unpublished", "{{state}}")]
            ),
            Panel("decided", [("rate(meterd_slots_decided_total[5m])", "{{state}}")], "ops"),
            Panel("about to be lost", [("meterd_slots_about_to_be_lost", "{{line}}")]),
            Panel(
                "lost in a day",
                [
                    ("increase(meterd_slots_lost_total[1d])", "{{line}}"),
                    ("increase(meterd_host_freezes_missed_total[1d])", "{{line}}, at midnight"),
                ],
            ),
            Panel(
                "balances by days that they do not know",
                [("meterd_balance_age_points", "{{days}}")],
            ),
        ],
    ),
    Board(
        "meterd-lines",
        "meterd: lines and terminals",
        [
            Panel("open", [("meterd_line_up", "{{line}}")]),
            Panel("answered", [("line:meterd_replies:ratio_rate5m", "{{line}}")], "percentunit"),
            Panel(
                "requests",
                [("sum without (line) (rate(meterd_replies_total[5m]))", "{{outcome}}")],
                "reqps",
            ),
            Panel("meters", [("meterd_line_meters", "{{line}}")]),
            Panel("meters that do not answer", [("meterd_meters_backed_off", "{{line}}")]),
            Panel(
                "last reading stored",
                [("time() - (meterd_line_last_reading_timestamp_seconds > 0)", "{{line}}")],
                "s",
            ),
            Panel(
                "last sign of life",
                [("time() - meterd_line_progress_timestamp_seconds", "{{line}}")],
                "s",
            ),
            Panel("written by others", [("increase(meterd_foreign_writes_total[1h])", "{{line}}")]),
            Panel("another meter", [("increase(meterd_identity_findings_total[1d])", "{{rule}}")]),
            Panel("clocks set", [("increase(meterd_clocks_set_total[1d])", "{{outcome}}")]),
            Panel("terminals", [("meterd_terminals or vector(0)", "{{listener}} {{state}}")]),
            Panel(
                "events of listeners",
                [("rate(meterd_listener_events_total[5m]) or vector(0)", "{{listener}} {{event}}")],
                "ops",
            ),
        ],
    ),
    Board(
        "meterd-money",
        "meterd: money",
        [
            now("ledger sums to", "meterd_ledger_sum_fen"),
            now("broken promises", "sum without (kind) (meterd_ledger_faults)"),
            now("days not closed", "meterd_days_not_closed"),
            now("customers have, yuan", 'meterd_balances_fen{side="credit"} / 100', "currencyCNY"),
            now("customers owe, yuan", 'meterd_balances_fen{side="debt"} / 100', "currencyCNY"),
            now("wait to be settled", "meterd_accounts_to_settle"),
            Panel(
                "posted",
                [("rate(meterd_ledger_transactions_total[5m])", "{{kind}}")],
                "ops",
                width=12,
            ),
            Panel(
                "moved, yuan a day",
                [("increase(meterd_ledger_moved_fen_total[1d]) / 100", "{{kind}}")],
                "currencyCNY",
                width=12,
            ),
            Panel("accounts by credit", [("meterd_accounts", "{{credit_state}}")], width=12),
            Panel(
                "not billed: days of the oldest",
                [("meterd_standstill_oldest_days", "{{reason}}")],
                "d",
                width=12,
            ),
        ],
    ),
    Board(
        "meterd-supply",
        "meterd: supply control",
        [
            now("nothing is sent (shadow)", "meterd_shadow_mode"),
            now("breakers open", "sum without (scope) (meterd_breakers_open)"),
            now("dark", 'sum without (state) (meterd_supply_points{state!="energised"})'),
            now(
                "reconnects over 10 min",
                'sum without (age) (meterd_reconnects_waiting{age!~"0-1m|1-10m"})',
            ),
            now("oldest command waits", "meterd_command_oldest_wait_seconds", "s"),
            now("jobs in the field", "sum without (kind) (meterd_field_jobs)"),
            Panel("alarms", [("meterd_supply_alarms", "{{alarm}}")]),
            Panel("alarms that nobody has", [("meterd_staff_alarms", "told to level {{level}}")]),
            Panel(
                "trips by outcome, a day",
                [
                    (
                        'increase(meterd_command_steps_total{action="trip",state=~"verified|refused|expired|superseded|cancelled|failed"}[1d])',
                        "{{state}}",
                    )
                ],
            ),
            Panel(
                "reconnects by outcome, a day",
                [
                    (
                        'sum without (action) (increase(meterd_command_steps_total{action!="trip",state=~"verified|refused|expired|superseded|cancelled|failed"}[1d]))',
                        "{{state}}",
                    )
                ],
            ),
            Panel("reconnects that wait", [("meterd_reconnects_waiting", "{{age}}")]),
            Panel(
                "time to be lit, 95 %",
                [
                    (
                        "histogram_quantile(0.95, sum without (instance) (rate(meterd_reconnect_duration_seconds_bucket[1h]))) >= 0 or vector(0)",
                        "95 %",
                    )
                ],
                "s",
            ),
            Panel("why cuts are held", [("meterd_supply_marks", "{{kind}}")]),
            Panel(
                "notices, a day",
                [("increase(meterd_notices_total[1d]) or vector(0)", "{{channel}} {{outcome}}")],
                width=12,
            ),
            Panel(
                "notices that wait",
                [("meterd_notices_waiting or vector(0)", "{{channel}}")],
                width=12,
            ),
        ],
    ),
    Board(
        "meterd-daemon",
        "meterd: daemon",
        [
            now("version", "meterd_build_info"),
            now("up for", 'time() - process_start_time_seconds{job="meterd"}', "s"),
            now("memory", 'process_resident_memory_bytes{job="meterd"}', "bytes"),
            now("disk left", "meterd_disk_free_bytes", "bytes"),
            now("clock doubted", "meterd_host_clock_doubted"),
            now("backup, age", "time() - meterd_backup_last_success_timestamp_seconds", "s"),
            Panel(
                "processor",
                [
                    ('rate(process_cpu_seconds_total{job="meterd"}[5m])', "cores"),
                    ("meterd_event_loop_lag_seconds", "late, s"),
                ],
            ),
            Panel(
                "ticks: since the last success",
                [("time() - (meterd_tick_last_success_timestamp_seconds > 0)", "{{tick}}")],
                "s",
            ),
            Panel(
                "ticks: how long they take",
                [
                    (
                        "rate(meterd_tick_duration_seconds_sum[10m]) / (rate(meterd_tick_duration_seconds_count[10m]) > 0)",
                        "{{tick}}",
                    )
                ],
                "s",
            ),
            Panel("batches", [("rate(meterd_batches_total[5m])", "{{outcome}}")], "ops"),
            Panel(
                "time of a batch, 95 %",
                [
                    (
                        "histogram_quantile(0.95, rate(meterd_batch_duration_seconds_bucket[5m])) >= 0 or vector(0)",
                        "95 %",
                    )
                ],
                "s",
            ),
            Panel(
                "readings that wait",
                [
                    ("meterd_pipeline_queue_readings", "in memory"),
                    ("meterd_spool_readings", "on disk"),
                ],
            ),
            Panel(
                "oldest reading that waits", [("meterd_unstored_oldest_age_seconds", "age")], "s"
            ),
            Panel("tasks that died", [("increase(meterd_task_restarts_total[1h])", "{{task}}")]),
            Panel(
                "oldest rows",
                [("meterd_retention_oldest_age_seconds or vector(0)", "{{table}}")],
                "s",
            ),
        ],
    ),
)


def built(board: Board) -> str:
    """The JSON that Grafana imports."""
    page = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["meterd"])
        .refresh("30s")
        .time("now-24h", "now")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
    )
    for panel in board.panels:
        shown: stat.Panel | timeseries.Panel = stat.Panel() if panel.now else timeseries.Panel()
        shown = (
            shown.title(panel.title)
            .unit(panel.unit)
            .datasource(SOURCE)
            .span(panel.width)
            .height(4 if panel.now else 8)
        )
        if panel.now:
            shown = shown.mappings([NOT_TO_BE_HAD])
        for number, (expression, legend) in enumerate(panel.queries):
            query = (
                prometheus.Dataquery()
                .expr(expression)
                .legend_format(legend)
                .ref_id("ABCDEF"[number])
            )
            shown = shown.with_target(query)
        page = page.with_panel(shown)
    return JSONEncoder(sort_keys=True, indent=2).encode(page.build()) + "\n"


def main() -> None:
    """Write them all."""
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(built(board), encoding="utf-8")


if __name__ == "__main__":
    main()
