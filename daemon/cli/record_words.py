"""A customer's fee-control record in words, English and Chinese (R40)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from daemon.cli.output import yuan
from storage.fee_control import Event

HEADS: Final[Mapping[str, Sequence[str]]] = {
    "en": ("when", "what", "point", "by", "note"),
    "zh": ("时间", "事项", "计量点", "经办", "说明"),
}
CHINESE: Final[Mapping[str, str]] = {
    # events
    "credit exhausted": "额度用尽",
    "credit restored": "额度恢复",
    "paid": "缴费",
    "payment taken back": "缴费冲正",
    "notice made": "拟定通知",
    "notice sent": "发出通知",
    "notice delivered": "通知送达",
    "notice failed": "通知未送达",
    "cut asked for": "申请停电",
    "cut no longer asked for": "撤回停电申请",
    "cut approved": "批准停电",
    "approval withdrawn": "撤回批准",
    "policy": "费控策略",
    "mark set": "设置标记",
    "mark lifted": "解除标记",
    "order asked for": "申请停电令",
    "order agreed": "停电令生效",
    "order ended": "停电令解除",
    "guard": "停电校验",
    "trip": "跳闸命令",
    "allow_close": "允许合闸命令",
    "close": "合闸命令",
    "job opened": "开立工单",
    "job assigned": "指派工单",
    "job closed": "办结工单",
    # kinds
    "written": "书面通知",
    "final": "停电前通知",
    "warning": "余额提醒",
    "restore": "复电",
    "protected": "重要用户",
    "life_support": "生命支持用户",
    "keep_power": "保电",
    "dispute": "争议",
    "hold": "暂停停电",
    "amnesty": "集中复电",
    "payment_in_flight": "缴费处理中",
    "weather": "天气原因",
    "planned_outage": "计划停电",
    "wrongful_cut": "误停",
    "keep_off": "禁止复电",
    "safety": "安全",
    "theft": "窃电",
    "customer_request": "用户申请",
    "arrears": "欠费",
    "foreign_open": "他人断开",
    "foreign_closed": "他人合上",
    "visit": "上门送达",
    "notice": "通知",
    "site": "全站策略",
    # states
    "allow": "可以停电",
    "deny": "不得停电",
    "needs_approval": "待批准",
    "waits": "待第二人确认",
    "persisted": "已登记",
    "sent": "已下发",
    "acked": "已确认",
    "unknown": "结果未知",
    "verifying": "核实中",
    "verified": "已核实",
    "refused": "被拒绝",
    "failed": "失败",
    "expired": "已过期",
    "superseded": "被取代",
    "cancelled": "已取消",
}
NOTES: Final[Mapping[str, tuple[str, str]]] = {
    "kind": ("{}", "{}"),
    "state": ("{}", "{}"),
    "decision": ("{}", "{}"),
    "reasons": ("{}", "{}"),
    "fen": ("{} yuan", "{} 元"),
    "channel": ("by {}", "渠道 {}"),
    "owner": ("to {}", "交 {}"),
    "reason": ("{}", "{}"),
    "detail": ("{}", "{}"),
    "receipt": ("{}", "{}"),
    "until": ("until {}", "至 {}"),
    "planned": ("planned for {}", "计划于 {}"),
    "area": ("area {}", "区域 {}"),
    "line": ("line {}", "线路 {}"),
    "notice": ("notice {}", "通知 {}"),
    "request": ("request {}", "申请 {}"),
    "mark": ("mark {}", "标记 {}"),
    "order": ("order {}", "停电令 {}"),
    "job": ("job {}", "工单 {}"),
    "transaction": ("transaction {}", "交易 {}"),
    "command": ("command {}", "命令 {}"),
}
"""What is told of an event, in this order."""
COMMAND_CHARACTERS: Final = 8
"""Of its id, by which `meterd explain trip` finds it."""


def rows_of(events: Sequence[Event], language: str) -> Iterator[tuple[object, ...]]:
    """A row for each event, under HEADS."""
    words: Mapping[str, str] = CHINESE if language == "zh" else {}
    stop = "，" if language == "zh" else ", "
    for it in events:
        note = stop.join(_notes(it.facts, language, words))
        yield it.at, words.get(it.event, it.event), it.point, it.actor, note or None


def _notes(facts: Mapping[str, Any], language: str, words: Mapping[str, str]) -> Iterator[str]:
    for name, forms in NOTES.items():
        value = facts.get(name)
        if value in (None, []):
            continue
        match name:
            case "fen":
                value = yuan(value)
            case "until" | "planned":
                value = f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M}"
            case "reasons":
                value = " ".join(value)
            case "command":
                value = value[:COMMAND_CHARACTERS]
            case "kind" | "state" | "decision":
                value = words.get(value, value)
        yield forms[language == "zh"].format(value)
