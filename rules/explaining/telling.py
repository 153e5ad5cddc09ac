"""Answers and explanations as sentences."""

from __future__ import annotations

from collections.abc import Iterator

from models.columns import Scalar
from rules.explaining.looking import Clause, Look
from rules.explaining.placing import PlacedPart, PlacedRule
from rules.explaining.progress import Finding, seconds
from rules.explaining.raised import Raised
from rules.explaining.texts import CLAUSES, EXPLAINED, FINDINGS, PASSED, VERDICTS, Words
from rules.explaining.trees import Seen
from rules.explaining.whynot import Answer, RunTold, Verdict

DESK_VERDICTS = frozenset((Verdict.SHADOW, Verdict.MERGED, Verdict.QUIETED, Verdict.SUPPRESSED, Verdict.SUSPECTED))


def answer_lines(answer: Answer, words: Words) -> Iterator[str]:
    """The verdict first, then what speaks for it."""
    yield f"{title(answer.rule, answer.part)} {pairs(answer.key)}"
    yield from verdict_lines(answer, words)
    if answer.before is not None and answer.verdict == Verdict.PATTERN:
        yield words.say(VERDICTS, "before", run=run_line(answer.before, words))
    if answer.later_us is not None:
        yield words.say(VERDICTS, "later", later=words.clock(answer.later_us))
    if answer.failed:
        yield words.say(VERDICTS, "counts", counts=pairs(answer.failed))
    if answer.lost:
        yield words.say(VERDICTS, "lost", lost=pairs({words.word(why): n for why, n in answer.lost.items()}))


def verdict_lines(answer: Answer, words: Words) -> Iterator[str]:
    at = words.clock(answer.at_us)
    match answer.verdict:
        case Verdict.RAISED:
            yield words.say(VERDICTS, "raised", at=at, detections=", ".join(answer.detections))
        case Verdict.NO_SUCH_KEY:
            yield words.say(VERDICTS, "no_such_key", from_=words.clock(answer.from_us), at=at)
            if answer.last_seen_us is not None:
                yield words.say(VERDICTS, "last_seen", last=words.clock(answer.last_seen_us))
            if answer.close_keys:
                yield words.say(VERDICTS, "close_keys", keys="; ".join(answer.close_keys))
        case Verdict.PATTERN if answer.run is None:
            yield words.say(VERDICTS, "pattern_none")
            if answer.row is not None:
                yield from row_lines(answer.row, words)
        case Verdict.PATTERN:
            assert answer.run is not None
            lacks = "; ".join(finding_line(f, words) for f in answer.run.short)
            yield words.say(VERDICTS, "pattern") + (lacks or run_line(answer.run, words))
            yield run_line(answer.run, words)
        case verdict if verdict in DESK_VERDICTS or verdict == Verdict.DRAFT:
            yield words.say(VERDICTS, verdict, **answer.facts)
        case _:
            assert answer.clause is not None
            assert answer.row is not None
            said = clause_line(answer.clause, words)
            yield f"{words.say(VERDICTS, 'clause')}{words.clock(answer.row.time_us)} {said}"


def run_line(run: RunTold, words: Words) -> str:
    said = words.say(
        VERDICTS, "run", since=words.clock(run.since_us), points=run.points,
        held=words.span(seconds(run.last_us - run.since_us)), gap=words.span(run.longest_gap_s), moved=run.moved_m,
    )  # fmt: skip
    if run.ended is None or run.ended_us is None:
        return said
    why = finding_line(run.ended, words)
    return f"{said}; {words.say(VERDICTS, 'ended', ended=words.clock(run.ended_us), why=why)}"


def finding_line(finding: Finding, words: Words) -> str:
    """Facts in seconds (`…_s`) are written out as spans, without the ending."""
    facts: dict[str, Scalar] = {}
    for name, value in finding.facts.items():
        timed = name.endswith("_s") and isinstance(value, int | float)
        facts[name.removesuffix("_s") if timed else name] = words.span(float(value or 0)) if timed else value
    return words.say(FINDINGS, finding.code, **facts)


# ------------------------------------------------------------------------------------------------- clauses


def clause_line(clause: Clause, words: Words) -> str:
    """Of a clause that failed."""
    blamed = None if clause.tree is None else clause.tree.blame()
    facts: dict[str, object] = {**clause.facts, **of_tree(blamed, words)}
    if "fate" in facts:
        facts["fate"] = words.word(str(facts["fate"]))
    return words.say(CLAUSES, failed_code(clause), **facts)


def failed_code(clause: Clause) -> str:
    if clause.clause == "zones":
        return "zones_excluded" if "excluded_by" in clause.facts else (
            "zones" if "nearest" in clause.facts else "zones_unplaced" if clause.truth is None else "zones_none"
        )  # fmt: skip
    return "where_null" if clause.clause == "where" and clause.truth is None else clause.clause


def row_lines(row: Look, words: Words) -> Iterator[str]:
    """Every clause of a row, those that have nothing to say left out."""
    for clause in row.clauses:
        if clause.truth is not True:
            yield clause_line(clause, words)
        elif clause.clause in PASSED and (clause.tree is not None or clause.facts.get("considered", 1)):
            yield from passed_line(clause, words)
    for override in row.overrides:
        code = "override" if override.applies else "no_override"
        yield words.say(PASSED, code, reason=override.reason, severity=override.severity)


def passed_line(clause: Clause, words: Words) -> Iterator[str]:
    if clause.tree is None and not clause.facts:
        return
    code = "zones_edge" if clause.facts.get("inside") is False else clause.clause
    said = words.say(PASSED, code, **{**clause.facts, **of_tree(clause.tree, words)})
    if clause.clause == "value" and clause.tree is not None:
        said += f" ({truth_mark(clause.tree)} {clause.tree.text})"
    yield said
    if clause.tree is not None and clause.tree.parts:
        for part in clause.tree.parts:
            yield from tree_lines(part, words, 1)


def of_tree(tree: Seen | None, words: Words) -> dict[str, object]:
    if tree is None:
        return {}
    return {"text": tree.text, "values": ", ".join(f"{n} = {words.written(v)}" for n, v in tree.read().items())}


def tree_lines(tree: Seen, words: Words, depth: int) -> Iterator[str]:
    """Every comparison with the value it saw, one a line."""
    shown = of_tree(tree, words)
    values = f"  [{shown['values']}]" if tree.values else ""
    yield f"{'  ' * depth}{truth_mark(tree)} {tree.text if tree.values else joined(tree, words)}{values}"
    for part in tree.parts:
        yield from tree_lines(part, words, depth + 1)


def joined(tree: Seen, words: Words) -> str:
    """What stands for an `and` or `or` whose parts follow."""
    return words.word("either" if tree.either else "all")


def truth_mark(tree: Seen) -> str:
    return {True: "✓", False: "✗", None: "?"}[tree.truth]


# ------------------------------------------------------------------------------------------------- openings


def raised_lines(raised: Raised, words: Words) -> Iterator[str]:
    detection = raised.detection
    key = {**detection.key, **({"zone": detection.zone} if detection.zone else {})}
    yield words.say(EXPLAINED, "key", key=pairs(key))
    yield words.say(
        EXPLAINED, "opened", at=detection.opened_event_time, detection=detection.detection_id,
        watermark=words.clock(raised.watermark_us), clock=words.clock(raised.clock_us),
    )  # fmt: skip
    if raised.row is not None:
        yield from row_lines(raised.row, words)
    if raised.run is not None:
        yield run_line(raised.run, words)
    evidence = ", ".join(raised.evidence)
    yield words.say(EXPLAINED, "evidence", evidence=evidence, coverage=detection.coverage)


def placed_lines(rule: PlacedRule, words: Words) -> Iterator[str]:
    yield words.say(EXPLAINED, "rule", rule=rule.rule, revision=rule.revision, status=rule.status)
    for part in rule.parts:
        yield placed_line(part, words)


def placed_line(part: PlacedPart, words: Words) -> str:
    named = f"{part.part} " if part.part else ""
    suspects = words.say(EXPLAINED, "suspects") if part.suspects else ""
    by, of = ", ".join(part.by) or words.word("nowhere"), ", ".join(part.of)
    return words.say(
        EXPLAINED, part.where, topic=part.topic, part=named, what=part.what, by=by, suspects=suspects, of=of
    )


def title(rule: str, part: str) -> str:
    return f"{rule}/{part}" if part else rule


def pairs(named: dict[str, str] | dict[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in named.items())
