"""The simulated field units between Kafka and `rules.crews`: what they read, in which order, and what they answer.

They keep nothing: after a restart they read their topics from the start and give the same answers, with the same ids,
which the Desk knows already.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from models.dispatch import DispatchOrder, VerificationResult
from models.incidents import Incident
from rules.crews import Crews
from rules.incidents.desk import Output

READS = ("dispatch.orders", "incidents", "verification.results")
CLOCK_TOPIC = "vehicle.positions"
# Incidents whose newest revision is remembered, so that a repeated older one is not news; far beyond a day's number.
MAX_KNOWN = 200_000

_decode_order = msgspec.json.Decoder(DispatchOrder).decode
_decode_incident = msgspec.json.Decoder(Incident).decode
_decode_result = msgspec.json.Decoder(VerificationResult).decode


class Answer(NamedTuple):
    """A record for the Desk: `id` goes out as `ce_id`, `time_ms` is when the unit did it."""

    topic: str
    key: str
    value: bytes
    id: str
    time_ms: int


class Dispatched:
    """What the Desk publishes, as the crews must see it: each revision once, an order after its incident."""

    def __init__(self, crews: Crews) -> None:
        self._crews = crews
        self._newest: dict[str, int] = {}
        # The topics are read side by side; an order may come first, and its incident says where to go.
        self._early: dict[str, list[Output]] = {}

    def see(self, topic: str, key: str, value: bytes) -> None:
        """One record of `READS`. Raises `msgspec.ValidationError` for one that is none of ours."""
        if topic == "incidents":
            self._incident(key, _decode_incident(value))
        elif topic == "dispatch.orders":
            order = _decode_order(value)
            output = Output(topic, key, order, order.order_id)
            if order.incident_id in self._newest:
                self._crews.see([output])
            else:
                self._early.setdefault(order.incident_id, []).append(output)
        elif topic == "verification.results":
            result = _decode_result(value)
            self._crews.see([Output(topic, key, result, result.verification_id)])

    def _incident(self, key: str, incident: Incident) -> None:
        identity = incident.incident_id
        if incident.revision <= self._newest.get(identity, 0):
            return
        self._newest[identity] = incident.revision
        if len(self._newest) > MAX_KNOWN:
            del self._newest[next(iter(self._newest))]
        self._crews.see([Output("incidents", key, incident, f"{identity}/{incident.revision}")])
        self._crews.see(self._early.pop(identity, ()))

    def answers(self, to_us: int) -> Iterable[Answer]:
        """What the units have done by then, in the order of its time."""
        for topic, key, value in self._crews.advance(to_us):
            body: dict[str, Any] = msgspec.json.decode(value)
            identity = body.get("feedback_id") or body.get("command_id") or ""
            yield Answer(topic, key, value, str(identity), int(body.get("time") or to_us // 1000))
