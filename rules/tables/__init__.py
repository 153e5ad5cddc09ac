"""Codes, deadlines, calendars, responsibilities: data with a source and a status, and the types they load into."""

from rules.tables.holidays import Holidays, MissingYear, WorkingTime
from rules.tables.load import load_tables, read_tables
from rules.tables.model import (
    DeadlineRow,
    Department,
    IncidentType,
    Metric,
    ResponsibilityRow,
    Tables,
)

__all__ = [
    "DeadlineRow",
    "Department",
    "Holidays",
    "IncidentType",
    "Metric",
    "MissingYear",
    "ResponsibilityRow",
    "Tables",
    "WorkingTime",
    "load_tables",
    "read_tables",
]
