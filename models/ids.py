"""Ids made from content, so that a replay makes the same ones. Nothing of arrival, clock or worker enters."""

from __future__ import annotations

from hashlib import blake2b


def content_id(prefix: str, *parts: str | int | None) -> str:
    """`prefix-` + 128 bits of BLAKE2b over the parts, each preceded by its length so that no two lists collide."""
    digest = blake2b(digest_size=16)
    for part in parts:
        data = b"\xff" if part is None else str(part).encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return f"{prefix}-{digest.hexdigest()}"


def share(identity: str) -> float:
    """A number in [0, 1) fixed by an id: for choices that must look random and repeat exactly."""
    return int.from_bytes(blake2b(identity.encode(), digest_size=7).digest(), "big") / (1 << 56)
