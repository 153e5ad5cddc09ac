"""A thousand rules are loaded while a worker waits. The limit is loose: what it guards against is growth."""

from __future__ import annotations

import gc
import time

from rules.language.load import SourceFile, load_rules
from tests.rules.language.world import CONTEXT, HEAD, rule_text


def test_a_thousand_rules_load_in_a_few_seconds_at_worst() -> None:
    rules = [
        rule_text(
            id=f"r{n}", where=f"class in lists.motor_vehicles and macros.standing and confidence > 0.{n}",
            zones='{in: ["no-parking/*"]}', params="{case: 7m}", detect="{dwell: {for: 2m, max_gap: 20s}}",
            stages="[{at: 2m, do: remind_owner}, {at: $case, do: open_case}]",
            overrides='[{zones: ["no-parking/school-*"], set: {case: 2m}, severity: major}]',
        )
        for n in range(1000)
    ]  # fmt: skip
    source = SourceFile("many.yaml", (HEAD + "".join(rules)).encode())
    begun = time.process_time()
    bundle, problems = load_rules([source], CONTEXT)
    assert time.process_time() - begun < 5.0
    assert bundle is not None, problems
    assert len(bundle.rules) == 1000
    assert gc.isenabled()
