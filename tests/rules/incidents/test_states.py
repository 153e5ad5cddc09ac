"""The literal table: every pair of state and step."""

from __future__ import annotations

from itertools import product

import pytest

from models.incidents import State
from rules.incidents.states import ENDED, GRACE, TABLE, IllegalStep, Step, after, allows


def test_every_state_has_its_row():
    assert set(TABLE) == set(State)


@pytest.mark.parametrize(("state", "step"), list(product(State, Step)))
def test_a_step_leads_where_the_table_says_or_raises(state, step):
    before = {s: dict(row) for s, row in TABLE.items()}
    if allows(state, step):
        assert after(state, step) == TABLE[state][step]
    else:
        with pytest.raises(IllegalStep) as raised:
            after(state, step)
        assert (raised.value.state, raised.value.step) == (state, step)
    assert before == TABLE


def test_every_state_but_the_first_is_reached():
    reached = {to for row in TABLE.values() for to in row.values()}
    assert reached == set(State) - {State.SUSPECTED}


def test_what_has_ended_only_reopens():
    for state in ENDED:
        assert set(TABLE[state]) <= {Step.REOPEN}


def test_nothing_closes_from_a_returned_order_by_a_persons_word():
    assert not allows(State.RETURNED, Step.CLOSE)
    assert [s for s in State if allows(s, Step.CLOSE)] == [State.VERIFYING]


def test_only_what_is_not_yet_a_case_leaves_in_grace():
    assert {s for s in State if allows(s, Step.LEAVE)} == GRACE
