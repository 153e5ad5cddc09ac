"""One rule about water levels, sensors that tell of them once a second, and the order in which records arrive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.rules.detection.stage import Sent, Stage, reading

LATENESS_S = 5
"""Of the stream, as nothing else is said."""
HOLD_S, CLEAR_S = 8, 4
HIGH, LOW = 22.0, 4.0
RULE = f"""
version: 1
rules:
  - id: flooded
    revision: 1
    name: {{zh: 积水, en: Flooded}}
    owner: {{department: traffic-police, contact: desk}}
    status: active
    type: {{code: "0406", severity: major}}
    from: [sensor.readings]
    where: metric == "water_level"
    by: [device_id]
    detect:
      hold: {{value: value, open_when: value >= 15cm, close_when: value < 8cm, for: {HOLD_S}s, close_for: {CLEAR_S}s}}
    message: {{zh: "{{place}} 积水", en: "Water at {{place}}"}}
"""
Told = list[tuple[str, float, str]]
"""Device, second, kind."""


def levels(device: str, of: Mapping[range, float]) -> list[Sent]:
    """A reading a second of the level of that time."""
    return [reading(second, level, device=device) for span, level in of.items() for second in span]


def in_turn(*several: Iterable[Sent]) -> list[Sent]:
    """In the order of arrival."""
    return sorted((sent for some in several for sent in some), key=lambda sent: sent.arrival_s)


def told(stage: Stage) -> Told:
    """All that was told, `still` left out, in the order of devices and times."""
    from tests.rules.detection.stage import seconds

    return sorted((d.key["device_id"], seconds(d), d.kind) for d in stage.told if d.kind != "still")


def run(sent: Sequence[Sent], *, until_s: float) -> Stage:
    """A stage that was fed all of it, one by one as it arrived, and then a quiet time."""
    stage = Stage(RULE)
    for one in sent:
        stage.feed(one)
    stage.advance(until_s)
    return stage
