"""What makes a record a duplicate of another on its topic: its CloudEvents source and id, else what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from models.building import Building
from models.columns import RawRecord
from models.gather import Values

LONG_KEY = 256  # bytes; a longer natural key (a list of readings) is kept as its digest
SEPARATOR = "\x1f"  # no id may hold it: ids are printable


def natural_keys(building: Building, records: Sequence[RawRecord]) -> list[bytes | None]:
    """What makes a record a duplicate: its CloudEvents source and id where both are sent, else its natural key."""
    natural = own_keys(building, records)
    keys: list[bytes | None]
    if len(natural) == len(records):
        keys = list(natural)
    else:
        keys = [None] * len(records)
        for record, key in zip(building.at.tolist(), natural, strict=True):
            keys[record] = key
    for number, record in enumerate(records):
        if record.headers:
            keys[number] = sent_key(record.headers) or keys[number]
    return keys


def sent_key(headers: Sequence[tuple[str, bytes]]) -> bytes | None:
    """Of a record's CloudEvents source and id; None where one is missing."""
    if not headers:
        return None
    sent = dict(headers)
    source, identity = sent.get("ce_source"), sent.get("ce_id")
    return b"ce\x1f%d\x1f%b%b" % (len(source), source, identity) if source and identity else None


def own_keys(building: Building, records: Sequence[RawRecord]) -> list[bytes]:
    """One for each record that was read, of the fields marked in CONTRACTS; times as microseconds, so that a stamp
    written in another way is the same."""
    head, row_head = building.gathered.head, building.gathered.row_head
    times = building.time_us.tolist()
    match building.topic:
        case "camera.tracks":
            return [f"{s}\x1f{t}".encode() for s, t in zip(head["sensor_id"], times, strict=True)]
        case "camera.events":
            return [e.encode() for e in head["event_id"]]
        case "vehicle.positions":
            return [f"{v}\x1f{t}".encode() for v, t in zip(head["vehicle_id"], times, strict=True)]
        case "traffic.measurements":
            parts = zip(head["segment_id"], head["source"], head["lane"], times, strict=True)
            return [f"{segment}\x1f{source}\x1f{lane}\x1f{t}".encode() for segment, source, lane, t in parts]
        case "hotline.tickets":
            # A later ticket with the same id is an update even when its call_time is the same: what it says counts too.
            values = [blake2b(records[i].value or b"", digest_size=16).hexdigest() for i in building.at.tolist()]
            tickets = zip(head["ticket_id"], times, values, strict=True)
            return [f"{ticket}\x1f{t}\x1f{value}".encode() for ticket, t, value in tickets]
        case _:
            readings = [f"{m}\x1f{t}" for m, t in zip(building.gathered.row["metric"], times, strict=True)]
            if row_head is None:
                return [f"{d}\x1f{r}".encode() for d, r in zip(head["device_id"], readings, strict=True)]
            return list_keys(head["device_id"], readings, np.bincount(row_head, minlength=len(building.at)).tolist())


def list_keys(devices: Values, readings: Sequence[str], counts: Sequence[int]) -> list[bytes]:
    keys: list[bytes] = []
    start = 0
    for device, count in zip(devices, counts, strict=True):
        key = SEPARATOR.join((device, *readings[start : start + count])).encode()
        keys.append(key if len(key) <= LONG_KEY else blake2b(key, digest_size=16).digest())
        start += count
    return keys
