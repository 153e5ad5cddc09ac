"""Bundles of rules, zones, registry and tables on their way to the workers."""

from __future__ import annotations

import msgspec


class RuleBundle(msgspec.Struct):
    """`rules.bundle`: the archive in parts 1 to `parts`, and then part 0, the head, without any: with it the bundle is
    there. Key of the head: prefix/centre; of a part: prefix/centre/digest/part."""

    centre: str
    digest: str
    revision: int
    part: int
    parts: int
    archive_b64: str | None
    published_at: str
