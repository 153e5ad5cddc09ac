"""What a replay with crews made of a city, held against the truth file of its recording.

`faults` names every true incident of a shipped rule that did not come as it should, and everything else that opened.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RUN_LIMIT_S = 300
NEAR_M = 30
SLACK_S = 5
"""What a source's interval and a first, moving sight may shift an opening by."""
UNSURE_S = {"illegal-parking": 70}
"""What a queue beside it, or the edge of a camera's view ahead of it, may hold an opening back: about one cycle of the
lights, after which half of its time was free of doubt."""
RAISED_AFTER_S = {
    "illegal-parking": 120,
    "street-vendor": 180,
    "ponding": 60,
    "cover-tilt": 30,
    "elder-sos": 0,
    "congestion": 60 + 180,  # the first slow interval must have ended
}
"""After `from`, as the rules say; the others are raised by the last of their events, at `to`."""
GOOD_ENDS = {"verified", "verified_by_person", "self_resolved"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What a replay published: `lives` are the revisions of each incident, in order."""

    lives: dict[str, list[Json]]
    dead: Counter[tuple[str, str]]
    passed: set[str]
    bins: dict[str, int]


def replay(recording: Path, out: Path) -> Told:
    """With crews, by the shipped rules, zones, registry and tables."""
    command = [sys.executable, "-m", "app", "replay", str(recording), "--crews", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    lives: dict[str, list[Json]] = {}
    for value in (r["value"] for r in records if r["topic"] == "incidents"):
        lives.setdefault(value["incident_id"], []).append(value)
    return Told(
        lives,
        Counter((r["value"]["topic"], r["value"]["reason"]) for r in records if r["topic"] == "dead-letters"),
        {
            r["value"]["incident_id"]
            for r in records
            if r["topic"] == "verification.results" and r["value"]["verdict"] == "passed"
        },
        json.loads(done.stderr.splitlines()[-1])["bins"],
    )


def shipped_rules() -> set[str]:
    packs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "rules" / "packs").glob("*.yaml")]
    return {rule["id"] for pack in packs for rule in pack.get("rules", ()) if rule["status"] == "active"}


def faults(truth: Json, told: Told) -> list[str]:
    """Everything that is not as the truth says, in words."""
    found: list[str] = []
    explained: set[str] = set()
    shipped = shipped_rules()
    for entry in truth["incidents"]:
        if entry["expect_rule"] in shipped:
            fits = [name for name, life in told.lives.items() if _is_of(life[0], entry)]
            explained.update(fits)
            if len(fits) != 1:
                found.append(f"{entry['id']} came {len(fits)} times")
            for name in fits:
                found += [f"{entry['id']}: {why}" for why in _wrong(entry, told.lives[name], name in told.passed)]
    tickets = {ticket for entry in truth["incidents"] for ticket in entry.get("tickets", ())}
    for name, life in told.lives.items():
        last = life[-1]
        told_by_citizens = last["rule"] is None and last["tickets"] and set(last["tickets"]) <= tickets
        if name not in explained and not told_by_citizens:
            found.append(
                f"{last['rule']} opened at {last['opened_at']}, {last['zone'] or last['place']}: nothing is so"
            )
    bad = Counter((record["topic"], record["reason"]) for record in truth["bad_records"])
    if told.dead != bad:
        found.append(f"dead letters {dict(told.dead)} instead of {dict(bad)}")
    if told.bins["duplicate"] != len(truth["duplicates"]):
        found.append(f"{told.bins['duplicate']} doubles instead of {len(truth['duplicates'])}")
    return found


def _is_of(opened: Json, entry: Json) -> bool:
    """Of the rule, at the place; two of a rule at one place are told apart by when they began."""
    if opened["rule"] != entry["expect_rule"] or opened["zone"] != entry.get("zone", opened["zone"]):
        return False
    return _apart_m(opened["place"], entry["place"]) <= NEAR_M


def _wrong(entry: Json, life: list[Json], passed: bool) -> list[str]:
    states, last = [revision["state"] for revision in life], life[-1]
    late_s = (_ms(life[0]["opened_at"]) - _due_ms(entry)) / 1000
    found = []
    if not -SLACK_S <= late_s <= SLACK_S + UNSURE_S.get(entry["expect_rule"], 0):
        found.append(f"opened {late_s} s after its time")
    if entry["outcome"] == "withdrawn":
        if "dispatched" in states or (last["state"], last["reason"]) != ("withdrawn", "left_in_grace"):
            found.append(f"should be withdrawn in its grace, was {' '.join(states)}")
    else:
        if "dispatched" not in states:
            found.append("nobody was sent")
        if last["state"] != "closed" or last["reason"] not in GOOD_ENDS or not passed:
            found.append(f"ended {last['state']}, {last['reason']}, {'' if passed else 'not '}verified")
    return found


def _due_ms(entry: Json) -> int:
    delay_s = RAISED_AFTER_S.get(entry["expect_rule"])
    return _ms(entry["to"]) if delay_s is None else _ms(entry["from"]) + delay_s * 1000


def _apart_m(a: Json, b: Json) -> float:
    return math.hypot((a["lon"] - b["lon"]) * 95_812, (a["lat"] - b["lat"]) * 110_864)


def _ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)
