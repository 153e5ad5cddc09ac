"""When a condition has stages, and when it is over."""

from __future__ import annotations

from dataclasses import replace

from rules.language.checking import Names
from rules.language.clauses import Clause, either, shown, written_params
from rules.language.model import WATCHED_ENOUGH, Absent, Close, Detect, Dwell, Hold, Stage
from rules.language.schema import CLOSE, STAGE, STEPS

WHEN = ("event", "transition", "dwell", "change", "sequence", "correlate")
"""The primitives that `close.when` can end."""
BELOW = "count"
INSTEAD = {
    "hold": "a hold has close_when and close_for of its own",
    "count": "a count ends below a number",
    "absent": "an absence ends with the next match",
    "near": "a pair ends when it is apart",
    "any_of": "each branch ends by itself",
    "all_of": "it ends when one of its conditions does",
}
AT_ONCE = ("event", "transition", "change", "sequence")
"""What happens in a moment: no later stage of it can be seen."""
MOST_COUNT = 10_000


def read_stages(rule: Clause, kind: str, detect: Detect, *, joined: bool = False) -> tuple[Stage, ...]:
    """`joined`: the Desk puts it together, and opens a case at once when it is."""
    earliest = detect.for_us if isinstance(detect, Dwell | Hold | Absent) else 0
    found: list[Stage] = []
    for clause in rule.clauses("stages", STAGE):
        at_us = clause.duration("at", earliest)
        here = clause.quantity("at") or clause.here
        if at_us < earliest:
            here.problem("E302", f"the stage is due {shown(here.node)} in, and the condition is raised only later")
        elif found and at_us < found[-1].at_us:
            here.problem("E306", f"the stage is due {shown(here.node)} in, before the one above it")
        elif at_us > 0 and kind in AT_ONCE:
            message = f"the stage is due {shown(here.node)} in, and {kind} happens in a moment and lasts no time"
            here.problem("E321", message, "at: 0s, or a primitive that lasts, such as dwell or hold")
        step = clause.choice("do", STEPS, STEPS[-1])
        if joined and step != STEPS[-1]:
            here = clause.get("do") or clause.here
            here.problem("E321", f"{kind} has no stage {step}: when it holds it is a case", f"do: {STEPS[-1]}")
        found.append(Stage(at_us, step))  # type: ignore[arg-type]  # one of STEPS
    return tuple(found)


def read_close(rule: Clause, kind: str, names: Names | None) -> Close:
    """`kind`: the primitive it ends; "part": of a join, which ends what its sources say; "": unknown."""
    clause = rule.clause("close", CLOSE)
    if clause is None:
        return Close()
    plain = Close(clause.duration("absent_for", None, positive=True), clause.share("min_coverage", WATCHED_ENOUGH))
    if kind == "part":
        return plain
    if kind:
        check_fits(clause, kind)
    inner = None if names is None else replace(names, params=written_params(clause))
    return replace(
        plain,
        timeout_us=clause.duration("timeout", None, positive=True),
        when=clause.expression("when", inner) if kind in WHEN else None,
        for_us=clause.duration("for", 0),
        below=clause.number("below", None, 1, MOST_COUNT),
    )


def check_fits(clause: Clause, kind: str) -> None:
    here = clause.get("when")
    if here is not None and kind not in WHEN:
        here.problem("E319", f'"when" cannot end {kind}: {INSTEAD[kind]}', f"it ends {either(WHEN)}")
    here = clause.get("below")
    if here is not None and kind != BELOW:
        here.problem("E319", f'"below" cannot end {kind}: only a count has a number of its own')
    here = clause.get("for")
    if here is not None and not clause.has("when") and not clause.has("below"):
        here.problem("E319", '"for" is how long "when" or "below" has held, and neither is here')
