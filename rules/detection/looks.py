"""What a rule looks at beyond its matches, and what each row is to it, as bits of a hit's signal.

Most primitives need their matches alone. A transition without zones also needs the rows that do not match, `near` the
other side, a sequence any of its steps, `close.when` the rows that close.
"""

from __future__ import annotations

import numpy as np

from models.columns import I32, I64, Batch, Mask
from rules.detection.condition import BASE
from rules.language.model import Change, Detect, Hold, InSequence, Near, Rule, Transition, Variant

MATCH, CLOSING = 1 << 21, 1 << 20
"""Of a rule with `close.when`: the row is a match; it closes. The bits below are the primitive's own."""
IS_SO = 1
"""Of a transition without zones: the row fulfils `where`."""
FIRST, SECOND = 1, 2
"""Of `near`: the row may be the one, or the other, of a pair."""
MOST_STEPS = 20


def closes_by_rows(rule: Rule) -> bool:
    """Whether rows of its own stream close it: a hold has levels of its own for that."""
    return any(v.close.when is not None and not isinstance(v.detect, Hold) for v in rule.variants)


def sees_more(rule: Rule) -> bool:
    """Whether it needs rows that are no matches, or to know what each match is."""
    return isinstance(rule.base.detect, Transition | Near | InSequence) or closes_by_rows(rule)


def is_plain_hold(detect: Detect) -> bool:
    """Whether each row by itself says what is held."""
    return isinstance(detect, Hold) and detect.over is None


def value_field(detect: Detect) -> str:
    """The field that is a detection's value."""
    if isinstance(detect, Hold):
        return detect.value_field
    return detect.field if isinstance(detect, Change) else "value"


def looked_at(rule: Rule, batch: Batch) -> Mask:
    """The rows a rule needs, but for its calendar and exemptions."""
    everything = np.ones(len(batch), dtype=np.bool_)
    if not sees_more(rule):
        return everything if rule.where is None else rule.where.mask(batch)
    matches = np.zeros(len(batch), dtype=np.bool_)
    for variant in rule.variants:
        close = variant.close
        if close.when is not None:
            matches |= everything if close.for_us else close.when.mask(batch)
        matches |= _sides(rule, variant, batch) != 0
    return everything if isinstance(rule.base.detect, Transition) and rule.zones is None else matches


def signals(rule: Rule, batch: Batch, rows: I64, variant: I64) -> I32:
    """The bits of these rows, each by the variant that applies to it."""
    bits = np.zeros(len(rows), dtype=np.int32)
    for at, one in zip((*range(len(rule.variants) - 1), BASE), rule.variants, strict=True):
        mine = variant == at
        if mine.any():
            bits[mine] = _said(rule, one, batch)[rows[mine]]
    return bits


def _said(rule: Rule, variant: Variant, batch: Batch) -> I32:
    sides = _sides(rule, variant, batch)
    if variant.close.when is not None:
        sides[variant.close.when.mask(batch)] |= CLOSING
    return sides


def _sides(rule: Rule, variant: Variant, batch: Batch) -> I32:
    """What each row is to the primitive; 0: nothing."""
    bits = np.zeros(len(batch), dtype=np.int32)
    where = np.ones(len(batch), dtype=np.bool_) if rule.where is None else rule.where.mask(batch)
    match variant.detect:
        case Near(of=of):
            bits[where] |= FIRST
            bits[of.mask(batch)] |= SECOND
        case InSequence(steps=steps):
            for place, step in enumerate(steps):
                bits[where & step.where.mask(batch)] |= 1 << place
        case _:
            bits[where] |= IS_SO
    bits[bits != 0] |= MATCH
    return bits
