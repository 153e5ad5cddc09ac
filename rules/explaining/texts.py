"""The sentences of explanations, Chinese and English, by code. Place-holders are facts; times and durations are
written out by `Words`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

Lang = Literal["zh", "en"]
Sentences = Mapping[str, tuple[str, str]]

CLAUSES: Sentences = {
    "arrived": ("到达：{fate}", "arrival: {fate}"),
    "by": ("缺少 by 字段：{missing}", "fields of `by` are missing: {missing}"),
    "where": ("where 不成立：{text}（{values}）", "where did not hold: {text} ({values})"),
    "where_null": ("where 未知（空值）：{text}（{values}）", "where was unknown (a null): {text} ({values})"),
    "zones": ("不在规则的区域内，最近的 {nearest} 相距 {metres} 米",
              "in no zone of the rule; the nearest, {nearest}, is {metres} m away"),
    "zones_none": ("不在规则的区域内，没有可选的区域", "in no zone of the rule, and it names none that exists"),
    "zones_excluded": ("在除外的区域 {excluded_by} 内", "in the excluded zone {excluded_by}"),
    "zones_unplaced": ("没有位置，无法判断区域", "without a position, so in no zone"),
    "active": ("不在日历 {calendar} 的时段内", "outside the hours of calendar {calendar}"),
    "exempt": ("豁免：{reason}（{text}）", "exempt: {reason} ({text})"),
    "value": ("value 为空", "value was null"),
}  # fmt: skip
PASSED: Sentences = {
    "where": ("where 成立：{text}（{values}）", "where held: {text} ({values})"),
    "zones": ("在区域 {zone} 内", "in zone {zone}"),
    "zones_edge": ("在区域 {zone} 的边缘缓冲内", "within the edge buffer of zone {zone}"),
    "active": ("在日历 {calendar} 的时段内", "within calendar {calendar}"),
    "exempt": ("看了 {considered} 项豁免，均不适用", "{considered} exemptions considered, none applied"),
    "value": ("value = {value}", "value = {value}"),
    "override": ("采用覆盖项：{reason}，级别 {severity}", "override applied: {reason}, severity {severity}"),
    "no_override": ("覆盖项不适用：{reason}", "override did not apply: {reason}"),
}
FINDINGS: Sentences = {
    "held": ("持续 {held}，需要 {of}", "held {held} of {of}"),
    "points": ("观测 {seen} 次，需要 {of} 次", "seen {seen} times of {of}"),
    "times": ("出现 {seen} 次，{within}内需要 {of} 次", "happened {seen} times of {of} within {within}"),
    "around": (
        "{which} 在 {share} 的观测中成立，需要 {of}",
        "{which} held at {share} of the observations, {of} is due",
    ),
    "usual_stop": ("常停处：停了 {held}，需要 {of}", "at a usual stop: stood {held} of {of}"),
    "pending": ("进行了 {held}，尚未满足", "under way for {held}, not fulfilled yet"),
    "gap": ("间断 {gap} > max_gap {max_gap}", "gap {gap} > max_gap {max_gap}"),
    "no_more": ("max_gap {max_gap} 内没有再匹配", "no further match within max_gap {max_gap}"),
    "moved": ("移动 {moved_m} 米 > max_move {max_move_m} 米", "moved {moved_m} m > max_move {max_move_m} m"),
    "other_view": ("相机转向了别处", "the camera looked elsewhere"),
    "not_open": ("读数 {value} 未达开启条件", "a reading of {value} did not fulfil open_when"),
    "anew": ("静默过久，重新开始", "begun anew after a long silence"),
    "source_silent": ("来源静默 {last}", "its source fell silent, {last} after the last match"),
    "begun_anew": ("重新开始", "begun anew"),
    "let_go": ("不再跟踪", "let go"),
    "cleared": ("已解除", "cleared"),
}
VERDICTS: Sentences = {
    "raised": ("规则在 {at} 已触发：{detections}", "the rule was raised at {at}: {detections}"),
    "no_such_key": ("{from_} 至 {at} 没有这样的键", "no such key was seen from {from_} to {at}"),
    "clause": ("没有一行通过规则的条件：", "no row came through the rule's clauses: "),
    "pattern": ("模式未满足：", "the pattern was not fulfilled: "),
    "pattern_none": ("各行通过了条件，但模式没有开始", "rows came through the clauses, and the pattern never began"),
    "draft": ("规则是草稿，不运行", "the rule is a draft and does not run"),
    "shadow": ("已触发，但规则处于 shadow，不立事件", "it was raised, and the rule is shadow: no incident is made"),
    "merged": ("已触发，并入事件 {incident}", "it was raised, and joined to incident {incident}"),
    "quieted": ("已触发，但在 cooldown 静默期内", "it was raised, within the quiet time of cooldown"),
    "suppressed": ("已触发，但被 suppressed_by 抑制", "it was raised, and kept down by suppressed_by"),
    "suspected": ("部分已触发，等待汇聚：处置台未成事件", "a part was raised; the Desk made no incident of it"),
    "later": ("之后在 {later} 触发", "it was raised later, at {later}"),
    "last_seen": ("最后见到 {last}", "last seen at {last}"),
    "close_keys": ("相近的键：{keys}", "keys like it: {keys}"),
    "lost": ("期间另有记录未用：{lost}", "records about then that were not used: {lost}"),
    "counts": ("该键的行按止步处计：{counts}", "rows of the key by where they stopped: {counts}"),
    "before": ("此前一次：{run}", "the try before: {run}"),
    "run": ("{since} 起 {points} 次观测，持续 {held}，最长间断 {gap}，最远移动 {moved} 米",
            "since {since}: {points} observations over {held}, longest gap {gap}, moved at most {moved} m"),
    "ended": ("{ended} 结束：{why}", "ended at {ended}: {why}"),
}  # fmt: skip
EXPLAINED: Sentences = {
    "incident": ("事件 {incident}：规则 {rule}（修订 {revision}，规则包 {bundle}）",
                 "incident {incident}: rule {rule} (revision {revision}, bundle {bundle})"),
    "detection": ("检测 {detection}：规则 {rule}（修订 {revision}，规则包 {bundle}）",
                  "detection {detection}: rule {rule} (revision {revision}, bundle {bundle})"),
    "key": ("对象 {key}", "key {key}"),
    "opened": ("{at} 触发（{detection}），水位线 {watermark}，时钟 {clock}",
               "raised at {at} ({detection}), decided by watermark {watermark}, clock {clock}"),
    "evidence": ("证据 {evidence}，覆盖率 {coverage}", "evidence {evidence}, coverage {coverage}"),
    "life": ("{at} 第 {revision} 版：{state}，原因 {reason}，级别 {severity}",
             "{at} revision {revision}: {state}, because {reason}, severity {severity}"),
    "detector": ("  检测器 {topic}：{part}{what}，by {by}{suspects}",
                 "  Detector {topic}: {part}{what}, by {by}{suspects}"),
    "desk": ("  处置台：{part}{what}，汇聚 {of}", "  Desk: {part}{what} of {of}"),
    "suspects": ("（疑似）", " (suspected)"),
    "rule": ("{rule} 修订 {revision} {status}", "{rule} revision {revision} {status}"),
}  # fmt: skip
WORDS: Sentences = {
    "in time": ("按时", "in time"),
    "late": ("迟到", "late"),
    "duplicate": ("重复", "duplicate"),
    "dead": ("死信", "dead letters"),
    "all": ("全部", "all of"),
    "either": ("任一", "any of"),
    "null": ("空", "null"),
    "nowhere": ("（无）", "(none)"),
}
UNITS = {"zh": (" 天", " 小时", " 分", " 秒"), "en": (" d", " h", " min", " s")}
SIZES_S = (86_400, 3_600, 60)


class Words:
    """One language and one clock to tell times by."""

    def __init__(self, lang: Lang, clock: Callable[[int], str]) -> None:
        self.lang, self.clock = lang, clock

    def say(self, catalogue: Sentences, code: str, **facts: object) -> str:
        return catalogue[code][self.lang == "en"].format(**{n: self.written(f) for n, f in facts.items()})

    def has(self, catalogue: Sentences, code: str) -> bool:
        return code in catalogue

    def written(self, fact: object) -> str:
        match fact:
            case None:
                return self.word("null")
            case bool():
                return "true" if fact else "false"
            case float():
                return f"{fact:.6g}"
            case _:
                return str(fact)

    def word(self, code: str) -> str:
        return WORDS[code][self.lang == "en"] if code in WORDS else code

    def span(self, seconds: float) -> str:
        """`8 min 40 s`."""
        days, hours, minutes, rest = self._parts(seconds)
        units = UNITS[self.lang]
        parts = [f"{n}{unit}" for n, unit in zip((days, hours, minutes), units, strict=False) if n]
        if rest or not parts:
            parts.append(f"{rest:g}{units[3]}")
        return " ".join(parts)

    @staticmethod
    def _parts(seconds: float) -> tuple[int, int, int, float]:
        whole: list[int] = []
        for size in SIZES_S:
            count = int(seconds // size)
            whole.append(count)
            seconds -= count * size
        return whole[0], whole[1], whole[2], round(seconds, 3)
