"""The job in quixstreams: two `apply` of a StreamingDataFrame, called one message at a time as its application does.

No broker, and the state is a dict of ours where its own would be RocksDB with a changelog topic: kinder than it is.

python -m benchmarks.contestants.quix_peer FOLDER [--events N] [--filter-first]
"""

from __future__ import annotations

from contextvars import copy_context
from time import process_time
from types import SimpleNamespace

from quixstreams.context import set_message_context
from quixstreams.dataframe import DataFrameRegistry, StreamingDataFrame
from quixstreams.models.topics import Topic, TopicType

from benchmarks.contestants import scoring
from benchmarks.contestants.per_event import Rule, Seen, Since, Tagger
from benchmarks.contestants.scoring import Raised


def main() -> None:
    given = scoring.arguments(__doc__).parse_args()
    tag, rule = Tagger.usual(given.folder, given.filter_first), Rule(given.folder)
    lines = scoring.events(given.folder, given.events)
    stands: dict[str, Since] = {}
    raised: list[Raised] = []

    def follow(seen: Seen) -> list[Raised]:
        since, told = rule.step(stands.get(seen.track), seen)
        if since is None:
            stands.pop(seen.track, None)
        else:
            stands[seen.track] = since
        return told

    topic = Topic("events", topic_type=TopicType.REGULAR, value_deserializer="bytes")
    registry, nowhere = DataFrameRegistry(), SimpleNamespace(producer=None)
    frame = StreamingDataFrame(
        topic, registry=registry, processing_context=nowhere, topic_manager=None, stream_id="events"
    )
    registry.register_root(frame)
    chain = frame.apply(tag).apply(follow, expand=True)

    process = chain.compose(sink=lambda value, *_: raised.append(value))[topic.name]
    context = copy_context()
    context.run(set_message_context, None)
    began = process_time()
    for line in lines:
        context.run(process, line, b"", 0, None)
    seconds = process_time() - began
    scoring.report(
        "quixstreams",
        given.folder,
        count=len(lines),
        seconds=seconds,
        raised=raised,
        memberships=tag.counted,
        packages=("quixstreams", "orjson", "shapely"),
    )


if __name__ == "__main__":
    main()
