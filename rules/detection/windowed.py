"""What primitives that look back over a window share: a condition may be idle, remembered for its window alone."""

from __future__ import annotations

from rules.detection.condition import Condition, Hit
from rules.detection.memory import FAR_US, Sightings, Window
from rules.detection.watch import Watch

IDLE_US = -(1 << 62)
"""`since_us` of a condition that only has a window."""


def border(time_us: int, every_us: int) -> int:
    """The first moment of the grid of looks at or after this one."""
    return -(-time_us // every_us) * every_us


class WindowedWatch(Watch):
    """Its conditions have a memory as long as anything is in their window."""

    def current(self, condition: Condition | None) -> Condition | None:
        """The condition unless it is idle."""
        return None if condition is None or condition.since_us == IDLE_US else condition

    def idle(self, hit: Hit, memory: Window | Sightings) -> Condition:
        condition = Condition.begin(hit)
        condition.since_us, condition.memory = IDLE_US, memory
        return condition

    def next_us(self, condition: Condition) -> int:
        """When the window is looked at next."""
        memory = condition.memory
        return memory.next_us if isinstance(memory, Window | Sightings) else FAR_US

    def is_empty(self, condition: Condition) -> bool:
        match condition.memory:
            case Window(times=times):
                return not times
            case Sightings(values=values):
                return not values
            case _:
                return True

    def look_at(self, condition: Condition, wake_us: int) -> None:
        super().look_at(condition, min(wake_us, self.next_us(condition)))

    def drop(self, condition: Condition) -> None:
        """It is over; its window stays as long as there is something in it."""
        if self.is_empty(condition):
            self.forget(condition)
            return
        condition.since_us, condition.points, condition.stage, condition.still_us = IDLE_US, 1, 0, 0
        condition.opened_us = condition.closing_us = condition.shut_us = None
        condition.opened_since_us, condition.unknown = 0, False
        self.look_at(condition, FAR_US)

    def newest(self, condition: Condition, hit: Hit) -> None:
        """Who speaks of it now, and from where; not its value."""
        seen_us = condition.last_us
        condition.follow(hit._replace(value=condition.value))
        if self.current(condition) is not None:
            condition.last_us = seen_us  # that is when it last was so
        condition.source, condition.area = hit.source, hit.area
        if condition.opened_us is None:
            condition.evidence = [hit.offset]
