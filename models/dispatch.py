"""Orders to field units and what comes back: feedback, commands, verification, notices, requests, replies."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from models.detections import Evidence, Text

Action = Literal["accepted", "arrived", "handled", "returned", "extension_requested", "rejected", "note"]
CommandName = Literal[
    "confirm", "withdraw", "dispatch", "assign", "merge", "split", "suspend", "resume", "extend", "escalate",
    "false_alarm", "close", "reopen", "acknowledge", "undo",
]  # fmt: skip


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """`dispatch.feedback`: what a unit says of its order."""

    feedback_id: str
    order_id: str
    incident_id: str
    action: Action
    actor: str
    time: int | str
    note: str | None = None
    evidence: list[str] = []


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """`commands`: what a person at the centre decides."""

    command_id: str
    incident_id: str
    command: CommandName
    actor: str
    role: str
    time: int | str
    args: dict[str, Any] = {}


class DispatchOrder(msgspec.Struct, frozen=True, kw_only=True):
    """`dispatch.orders`, key = incident_id."""

    order_id: str
    incident_id: str
    department: str
    unit_id: str | None
    reason: str
    issued_at: str
    accept_by: str | None
    resolve_by: str | None
    clock: str
    task: Text
    cancelled: bool = False


class VerificationResult(msgspec.Struct, frozen=True, kw_only=True):
    """`verification.results`, key = incident_id."""

    verification_id: str
    incident_id: str
    verdict: Literal["passed", "failed", "inconclusive"]
    method: str
    coverage: float | None
    evidence: list[Evidence]
    at: str


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """`notices`: the reminder before a case, key = incident_id."""

    notice_id: str
    incident_id: str
    to: dict[str, str] | None
    channel: str
    text: Text
    grace_until: str | None
    at: str


class RecognitionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`recognition.requests`: please look again, key = incident_id."""

    request_id: str
    incident_id: str
    sensor_id: str | None
    lon: float | None
    lat: float | None
    not_before: str
    want: str
    at: str


class HotlineReply(msgspec.Struct, frozen=True, kw_only=True):
    """`hotline.replies`: the answer to each ticket, key = ticket_id."""

    reply_id: str
    ticket_id: str
    incident_id: str | None
    state: str
    text: Text
    at: str
