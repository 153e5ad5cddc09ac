"""Which step leads where in the life of an incident.

This file may not know rules, detections, orders, units, clocks or why a step is taken: only that it is allowed. What
is not in the table is illegal, raises, and has changed nothing.
"""

from __future__ import annotations

from enum import StrEnum

from models.incidents import State


class Step(StrEnum):
    NOTIFY = "notify"
    CONFIRM = "confirm"
    LEAVE = "leave"
    WITHDRAW = "withdraw"
    DISPATCH = "dispatch"
    ACCEPT = "accept"
    ARRIVE = "arrive"
    HANDLE = "handle"
    RETURN = "return"
    VERIFY = "verify"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    RESOLVE = "resolve"
    CLOSE = "close"
    SUSPEND = "suspend"
    RESUME = "resume"
    MERGE = "merge"
    DISMISS = "dismiss"
    REOPEN = "reopen"


S = State

TABLE: dict[State, dict[Step, State]] = {
    S.SUSPECTED: {
        Step.NOTIFY: S.NOTIFIED,
        Step.CONFIRM: S.CONFIRMED,
        Step.LEAVE: S.WITHDRAWN,
        Step.WITHDRAW: S.WITHDRAWN,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.NOTIFIED: {
        Step.CONFIRM: S.CONFIRMED,
        Step.LEAVE: S.WITHDRAWN,
        Step.WITHDRAW: S.WITHDRAWN,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.CONFIRMED: {
        Step.DISPATCH: S.DISPATCHED,
        Step.RESOLVE: S.CLOSED,
        Step.WITHDRAW: S.WITHDRAWN,
        Step.SUSPEND: S.SUSPENDED,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.DISPATCHED: {
        Step.DISPATCH: S.DISPATCHED,
        Step.ACCEPT: S.ACCEPTED,
        Step.ARRIVE: S.ARRIVED,
        Step.HANDLE: S.HANDLED,
        Step.RETURN: S.RETURNED,
        Step.RESOLVE: S.CLOSED,
        Step.WITHDRAW: S.WITHDRAWN,
        Step.SUSPEND: S.SUSPENDED,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.ACCEPTED: {
        Step.DISPATCH: S.DISPATCHED,
        Step.ARRIVE: S.ARRIVED,
        Step.HANDLE: S.HANDLED,
        Step.RETURN: S.RETURNED,
        Step.RESOLVE: S.CLOSED,
        Step.WITHDRAW: S.WITHDRAWN,
        Step.SUSPEND: S.SUSPENDED,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.ARRIVED: {
        Step.DISPATCH: S.DISPATCHED,
        Step.HANDLE: S.HANDLED,
        Step.RETURN: S.RETURNED,
        Step.RESOLVE: S.CLOSED,
        Step.WITHDRAW: S.WITHDRAWN,
        Step.SUSPEND: S.SUSPENDED,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.HANDLED: {
        Step.VERIFY: S.VERIFYING,
    },
    S.VERIFYING: {
        Step.PASS: S.CLOSED,
        Step.FAIL: S.REWORK,
        Step.CLOSE: S.CLOSED,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.RETURNED: {
        Step.DISPATCH: S.DISPATCHED,
        Step.RESOLVE: S.CLOSED,
        Step.WITHDRAW: S.WITHDRAWN,
        Step.SUSPEND: S.SUSPENDED,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.REWORK: {
        Step.DISPATCH: S.DISPATCHED,
        Step.RESOLVE: S.CLOSED,
        Step.WITHDRAW: S.WITHDRAWN,
        Step.SUSPEND: S.SUSPENDED,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.SUSPENDED: {
        Step.RESUME: S.CONFIRMED,
        Step.WITHDRAW: S.WITHDRAWN,
        Step.MERGE: S.MERGED,
        Step.DISMISS: S.FALSE_ALARM,
    },
    S.CLOSED: {Step.REOPEN: S.CONFIRMED},
    S.WITHDRAWN: {Step.REOPEN: S.CONFIRMED},
    S.FALSE_ALARM: {Step.REOPEN: S.CONFIRMED},
    S.MERGED: {},
}

GRACE = frozenset({S.SUSPECTED, S.NOTIFIED})
"""Not yet a case: what goes by itself is no incident."""
ORDERED = frozenset({S.DISPATCHED, S.ACCEPTED, S.ARRIVED})
"""A unit holds the order."""
ENDED = frozenset({S.CLOSED, S.WITHDRAWN, S.FALSE_ALARM, S.MERGED})


class IllegalStep(ValueError):
    """The step does not lead anywhere from this state."""

    def __init__(self, state: State, step: Step) -> None:
        super().__init__(f"no step {step.value!r} from {state.value!r}")
        self.state, self.step = state, step


def allows(state: State, step: Step) -> bool:
    return step in TABLE[state]


def after(state: State, step: Step) -> State:
    """The state the step leads to; IllegalStep if none."""
    to = TABLE[state].get(step)
    if to is None:
        raise IllegalStep(state, step)
    return to
