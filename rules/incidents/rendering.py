"""Texts for people: a rule's `{path|filter}` place-holders, in both languages, without clear personal data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from models.detections import Text

Language = Literal["zh", "en"]
LEVELS = {
    "zh": ("", "畅通", "基本畅通", "轻度拥堵", "中度拥堵", "严重拥堵"),
    "en": ("", "free", "mostly free", "light congestion", "congestion", "heavy congestion"),
}
SEVERITY_NAMES = {
    "zh": {"minor": "一般", "moderate": "较大", "major": "重大", "critical": "特别重大"},
    "en": {"minor": "minor", "moderate": "moderate", "major": "major", "critical": "critical"},
}
ABSENT = {"zh": "未知", "en": "unknown"}
Parts = Sequence[str | tuple[str, tuple[str, ...]]]


def render(parts: Parts, values: Mapping[str, Any], language: Language) -> str:
    """The text. A value that is not there reads as unknown; it never fails."""
    return "".join(p if isinstance(p, str) else placeholder(p[0], p[1], values, language) for p in parts)


def placeholder(path: str, filters: Sequence[str], values: Mapping[str, Any], language: Language) -> str:
    value = look_up(path, values)
    for name in filters:
        if value is None:
            break
        value = apply(name, value, language)
    return spoken(value, language)


def look_up(path: str, values: Mapping[str, Any]) -> Any:
    """`zone.name` as nested keys, or as one key with the dot in it."""
    if path in values:
        return values[path]
    found: Any = values
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def apply(name: str, value: Any, language: Language) -> Any:
    if name == "mask":
        return masked(value)
    if name == "count":
        return len(value) if isinstance(value, list | tuple | dict) else value
    if name in ("upper", "lower") and isinstance(value, str):
        return value.upper() if name == "upper" else value.lower()
    if name == "severity_name":
        return SEVERITY_NAMES[language].get(str(value), value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    match name:
        case "round":
            return round(value)
        case "minutes":
            return int(value // 60)
        case "hours":
            return round(value / 3600, 1)
        case "seconds":
            return int(value)
        case "level_name":
            level = round(value)
            return LEVELS[language][level] if 1 <= level <= 5 else value
    return value


def masked(value: Any) -> Any:
    """What may be shown of a tokenised value; of a plain text, its first sign."""
    if isinstance(value, Mapping):
        return value.get("mask") or "***"
    text = str(value)
    return text[:1] + "*" * max(2, min(4, len(text) - 1))


def spoken(value: Any, language: Language) -> str:
    if type(value) is str:
        return value
    match value:
        case None:
            return ABSENT[language]
        case bool():
            return {"zh": ("否", "是"), "en": ("no", "yes")}[language][value]
        case float():
            return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
        case Text():
            return value.zh if language == "zh" else value.en
        case dict() if "mask" in value:
            return str(masked(value))
        case dict() if language in value:
            return str(value[language])
        case dict():
            return ABSENT[language]
        case list() | tuple():
            return (
                "、".join(spoken(v, language) for v in value)
                if language == "zh"
                else ", ".join(spoken(v, language) for v in value)
            )
    return str(value)
