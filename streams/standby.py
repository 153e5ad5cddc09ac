"""Whether a worker without partitions has none because the others of its group hold them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

Held = dict[str, set[tuple[str, int]]]
"""What each member of a group was given: member id → (topic, partition)."""


def others_hold_all(held: Mapping[str, Collection[tuple[str, int]]], me: str, counts: Mapping[str, int]) -> bool:
    """True if we are in the group and every partition of these topics (topic → number) belongs to another member."""
    theirs = {tp for member, tps in held.items() if member != me for tp in tps}
    every = {(topic, partition) for topic, count in counts.items() for partition in range(count)}
    return me in held and bool(every) and every <= theirs


async def members(servers: str, group: str, options: Mapping[str, Any]) -> Held:
    """Asked of the group's coordinator; nobody while it rebalances. Raises what aiokafka raises."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, **options)
    await admin.start()
    try:
        held: Held = {}
        for response in await admin.describe_consumer_groups([group]):
            for error, _group, state, _kind, _protocol, described, *_ in response.groups:
                if not error and state == "Stable":
                    held |= {member[0]: _given(member[4]) for member in described}
        return held
    finally:
        await admin.close()


def _given(assignment: bytes) -> set[tuple[str, int]]:
    if not assignment:
        return set()
    given = ConsumerProtocolMemberAssignment.decode(assignment).assignment
    return {(topic, partition) for topic, partitions in given for partition in partitions}


def standby_of(
    servers: str,
    group: str,
    options: Mapping[str, Any],
    *,
    me: Callable[[], str | None],
    counts: Callable[[], Mapping[str, int]],
) -> Callable[[], Awaitable[bool]]:
    """For `Watchdog`. `me`: our member id; `counts`: partitions of the topics we read."""

    async def standby() -> bool:
        member = me()
        return member is not None and others_hold_all(await members(servers, group, options), member, counts())

    return standby
