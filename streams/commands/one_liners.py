"""A record of any topic on one line, for people."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson

Body = dict[str, Any]
WIDTH = 200


def one_liner(topic: str, value: bytes | None, lang: str) -> str:
    """What matters of a record; compact JSON, cut, where nothing is known of its topic."""
    if value is None:
        return "(empty)"
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError:
        return f"(not JSON) {len(value)} bytes"  # which may hold what a screen must not show
    known = LINES.get(topic)
    if known is not None and isinstance(body, dict):
        with suppress(TypeError, ValueError, AttributeError):  # anybody may send to an input topic
            return _cut(known(body, lang))
    return _cut(value.decode(errors="replace"))


def incident_line(body: Body, lang: str) -> str:
    """`07:13:11 i-7c3fa90b dispatched  illegal-parking  新华路北段  u-jj-01 正在前往…`"""
    place = body.get("place") or {}
    return "  ".join(
        part
        for part in (
            _clock(body.get("changed_at")),
            short_id(body.get("incident_id")),
            f"{body.get('state') or '':<10}",
            _why(body),
            body.get("rule") or ",".join(body.get("tickets") or ()) or body.get("type"),
            _text(place.get("text"), lang),
            _text(body.get("message"), lang),
        )
        if part
    )


def short_id(whole: object) -> str:
    """The first ten characters: enough to tell them apart on a screen."""
    return str(whole or "")[:10]


def _why(body: Body) -> str:
    condition = body.get("condition")
    return f"{body.get('reason', '')}{'' if condition == 'still' else f' ({condition})'}"


def _detection(body: Body, lang: str) -> str:
    del lang
    key = ",".join(str(v) for v in (body.get("key") or {}).values())
    parts = (_clock(body.get("event_time")), short_id(body.get("detection_id")), f"{body.get('kind') or '':<8}")
    stage = f"{body['rule']}/{body['stage']}" if body.get("stage") else str(body.get("rule"))
    return "  ".join((*parts, stage, str(body.get("zone") or body.get("area") or ""), key))


def _order(body: Body, lang: str) -> str:
    told = "cancelled" if body.get("cancelled") else str(body.get("reason"))
    to = f"{body.get('department')}/{body.get('unit_id') or '–'}"
    return "  ".join(
        (_clock(body.get("issued_at")), short_id(body.get("incident_id")), told, to, _text(body.get("task"), lang))
    )


def _verdict(body: Body, lang: str) -> str:
    del lang
    covered = body.get("coverage")
    share = "" if covered is None else f"coverage {covered:.0%}"
    shown = (
        _clock(body.get("at")),
        short_id(body.get("incident_id")),
        str(body.get("verdict")),
        str(body.get("method")),
    )
    return "  ".join((*shown, share))


def _notice(body: Body, lang: str) -> str:
    to = (body.get("to") or {}).get("mask", "")
    shown = (_clock(body.get("at")), short_id(body.get("incident_id")), str(body.get("channel")), str(to))
    return "  ".join((*shown, _text(body.get("text"), lang)))


def _reply(body: Body, lang: str) -> str:
    shown = (_clock(body.get("at")), str(body.get("ticket_id")), short_id(body.get("incident_id")))
    return "  ".join((*shown, str(body.get("state")), _text(body.get("text"), lang)))


def _feedback(body: Body, lang: str) -> str:
    del lang
    shown = (_clock(body.get("time")), short_id(body.get("incident_id")), str(body.get("action")))
    return "  ".join((*shown, str(body.get("actor")), str(body.get("note") or "")))


def _ticket(body: Body, lang: str) -> str:
    del lang  # the caller's words are what they are; the caller's number stays off the screen
    shown = (_clock(body.get("call_time")), str(body.get("ticket_id")), str(body.get("category") or ""))
    return "  ".join((*shown, str(body.get("address") or ""), str(body.get("text") or "")))


def _dead(body: Body, lang: str) -> str:
    del lang
    where = f"{body.get('topic')}/{body.get('partition')}/{body.get('offset')}"
    return "  ".join((where, str(body.get("reason")), str(body.get("path") or ""), str(body.get("detail") or "")))


def _late(body: Body, lang: str) -> str:
    del lang
    where = f"{body.get('topic')}/{body.get('partition')}/{body.get('offset')}"
    return f"{where}  late by {body.get('late_by_s')} s"


LINES: dict[str, Callable[[Body, str], str]] = {
    "incidents": incident_line,
    "incidents.state": incident_line,
    "detections": _detection,
    "dispatch.orders": _order,
    "verification.results": _verdict,
    "notices": _notice,
    "hotline.replies": _reply,
    "dispatch.feedback": _feedback,
    "hotline.tickets": _ticket,
    "dead-letters": _dead,
    "late": _late,
}


def _clock(stamp: object) -> str:
    """`07:13:11` of an RFC 3339 stamp."""
    return stamp[11:19] if isinstance(stamp, str) and len(stamp) > 19 else str(stamp or "")


def _text(text: object, lang: str) -> str:
    return str(text.get(lang) or "") if isinstance(text, dict) else ""


def _cut(line: str) -> str:
    line = line.replace("\n", " ")
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"
