"""What is told of feeds that do not fit: one problem each, at the line of the recording where the feed begins."""

from __future__ import annotations

from collections.abc import Mapping

from geo.feeds import Feed, FeedBook, Sample
from geo.offset import Ground, Judgement, Reading, declared_reading, judge
from models.problems import Place, Problem


def judgements(book: FeedBook, ground: Ground) -> dict[Feed, Judgement]:
    """Of all feeds of a book, in order of topics and sources."""
    return {feed: judge(feed, sample, ground) for feed, sample in book.samples().items()}


def misfits(judged: Mapping[Feed, Judgement], samples: Mapping[Feed, Sample]) -> list[Problem]:
    """A problem for each feed that is known not to fit."""
    return [problem_of(found, samples[feed].first) for feed, found in judged.items() if not found.fits]


def problem_of(found: Judgement, where: tuple[str, int]) -> Problem:
    code, message, hint = TOLD[found.reading](found) if found.reading in TOLD else other_system(found)
    feed = found.feed
    return Problem(
        place=Place(*where), code=code, message=f'"{feed.source}" {message}', hint=hint, path=(feed.topic, feed.source)
    )


def other_system(found: Judgement) -> tuple[str, str, str]:
    reading, own = found.reading, declared_reading(found.feed)
    assert reading is not None
    off = f"{metres(found.off_m[own])} from {found.measured} as declared, {metres(found.off_m[reading])} as {reading}"
    message = f"declares {found.feed.declared}, its positions are {reading}: {off} ({evidence(found)})"
    return "F001", message, f'send "crs": "{reading}" with its records, or have them converted to what they declare'


def swapped(found: Judgement) -> tuple[str, str, str]:
    message = f"sends lat as lon and lon as lat: exchanged its positions would lie in the city ({evidence(found)})"
    return "F002", message, "exchange the two at the source; its records are dead-lettered until then"


def displaced(found: Judgement) -> tuple[str, str, str]:
    assert found.shift_m is not None
    east, north = found.shift_m
    side, end = "west" if east < 0 else "east", "south" if north < 0 else "north"
    way = f"{metres(abs(east))} {side}, {metres(abs(north))} {end}"
    message = f"lies {way} of {found.measured}, and no system of coordinates explains it ({evidence(found)})"
    return "F003", message, "correct its place in the registry, or what the device is told of its own"


TOLD = {Reading.SWAPPED: swapped, Reading.OFFSET: displaced}


def evidence(found: Judgement) -> str:
    return f"{found.seen} positions, {min(99, int(100 * found.confidence))}% sure"


def metres(number: float) -> str:
    return f"{number:.0f} m"
