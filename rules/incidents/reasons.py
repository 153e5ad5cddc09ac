"""Every "why" that leaves the Desk."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    # opening and fusion
    DETECTED = "detected"
    OWNER_REMINDED = "owner_reminded"
    SECOND_LOOK = "second_look_requested"
    CASE_OPENED = "case_opened"
    CORRELATED = "correlated"
    TICKET = "ticket"
    JOINED = "joined"
    TICKET_JOINED = "ticket_joined"
    REPORTED_AGAIN = "reported_again"
    SEVERITY_RAISED = "severity_raised"
    CONDITION_CHANGED = "condition_changed"
    LEFT_IN_GRACE = "left_in_grace"
    NOT_CONFIRMED = "not_confirmed"
    MERGED = "merged"
    SEVERITY_LOWERED = "severity_lowered"
    SUPPRESSING = "suppressing"
    INHERITED = "inherited"
    # dispatch
    UNASSIGNED = "unassigned"
    UNIT_ASSIGNED = "unit_assigned"
    REASSIGNED = "reassigned"
    SAME_UNIT_AGAIN = "same_unit_again"
    ASSIGNED_BY_PERSON = "assigned_by_person"
    NO_UNIT_LEFT = "no_unit_left"
    ACCEPT_OVERDUE = "accept_overdue"
    RESOLVE_OVERDUE = "resolve_overdue"
    # why this unit (on the order)
    NEAREST_ON_DUTY = "nearest_on_duty"
    LEAST_LOADED = "least_loaded"
    OVER_CAPACITY = "over_capacity"
    DEPARTMENT_ONLY = "department_only"
    # why an order is taken back
    ORDER_CANCELLED = "order_cancelled"
    # feedback
    UNIT_ACCEPTED = "unit_accepted"
    UNIT_ARRIVED = "unit_arrived"
    UNIT_HANDLED = "unit_handled"
    UNIT_RETURNED = "unit_returned"
    UNIT_REJECTED = "unit_rejected"
    EXTENSION_REQUESTED = "extension_requested"
    NOTE_ADDED = "note_added"
    # verification
    VERIFICATION_STARTED = "verification_started"
    VERIFIED = "verified"
    VERIFICATION_FAILED = "verification_failed"
    VERIFICATION_INCONCLUSIVE = "verification_inconclusive"
    PERSON_MUST_CLOSE = "person_must_close"
    SELF_RESOLVED = "self_resolved"
    VERIFIED_BY_PERSON = "verified_by_person"
    # commands
    CONFIRMED_BY_PERSON = "confirmed_by_person"
    WITHDRAWN_BY_PERSON = "withdrawn_by_person"
    MERGED_BY_PERSON = "merged_by_person"
    SUSPENDED_BY_PERSON = "suspended_by_person"
    RESUMED_BY_PERSON = "resumed_by_person"
    EXTENDED_BY_PERSON = "extended_by_person"
    ESCALATED_BY_PERSON = "escalated_by_person"
    FALSE_ALARM = "false_alarm"
    REOPENED_BY_PERSON = "reopened_by_person"
    ACKNOWLEDGED = "acknowledged"
