"""The page that lists what a rule may ask of each stream says what the code says."""

from __future__ import annotations

from pathlib import Path

from models.streams import STREAMS, Stream

MASKED = "token: compared and shown masked"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "rules.md"


def table(stream: Stream) -> str:
    """The page's table of one stream."""
    rows = [
        f"| `{name}` | {field.kind} | {field.unit or ''} | {MASKED if field.tokenised else ''} |"
        for name, field in stream.fields.items()
    ]
    head = f"### `{stream.topic}`\n\n| Field | Kind | Unit | |\n| --- | --- | --- | --- |\n"
    return head + "\n".join(rows) + "\n"


def test_every_field_of_every_stream_is_on_the_page() -> None:
    page = PAGE.read_text()
    for stream in STREAMS.values():
        if stream.fields and not stream.desk:
            assert table(stream) in page, table(stream)
