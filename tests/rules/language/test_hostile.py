"""What somebody might send to hang or to hurt: refused, and soon. The limit is far above what is needed (ms)."""

from __future__ import annotations

import time

import pytest

from models.problems import failed
from tests.rules.language.world import CONTEXT, HEAD, load, rule_text

SOON_S = 5.0

LAUGHS = "a: &a [x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20))
MACROS = "".join(f"  m{n}: macros.m{n + 1} and macros.m{n + 1}\n" for n in range(40)) + "  m40: speed_mps < 1\n"
CHAIN = "".join(f"  m{n}: macros.m{n + 1}\n" for n in range(900)) + "  m900: speed_mps < 1\n"
UNDEFINED = "".join(f"  m{n}: macros.n{n}\n" for n in range(900))


def where(text: str) -> str:
    return HEAD + rule_text(where=f"'{text}'")


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "a: " * 100_000,
        "? " * 100_000,
        "a: " + "9" * 1_900_000,
        "a: 1e" + "9" * 1_000_000,
        "a: 0." + "0" * 1_000_000 + "1",
        "x" * 1_900_000,
        "a: '" + "x" * 1_900_000,
        "\n" * 1_900_000 + "a: *x",
        "[" + "a, " * 600_000,
        "".join(f"k{n}: 1\n" for n in range(150_000)),
        HEAD + "  - {}\n" * 60_000,
        HEAD + rule_text(by="[" + "no, " * 200_000 + "]"),
        where("(" * 1900 + "1" + ")" * 90),
        where("not " * 490 + "true"),
        where("- " * 900 + "1 > 0"),
        where("speed_mps < " + "1" * 1900),
        where("speed_mps < 1e300 * 1e300 and speed_mps < 1e-300kmm"),
        where('matches(class, "' + "(" * 1800 + '")'),
        where('matches(class, "((a{1,900}){1,900}){1,900}")'),
        where("speed_mps < 1 or " * 100 + "x"),
        where("lists." + "a" * 1900 + " in lists.a"),
        HEAD.replace("rules:", f"macros2:\n{MACROS}rules:"),
        "version: 1\nmacros:\n" + MACROS + "rules:\n" + rule_text(where="macros.m0"),
        "version: 1\nmacros:\n" + CHAIN + "rules:\n" + rule_text(where="macros.m0"),
        "version: 1\nmacros:\n" + UNDEFINED,
        "version: 1\nmacros:\n" + UNDEFINED + UNDEFINED.replace("m", "k"),
        HEAD + rule_text(zones='{in: ["' + "*a" * 99 + '/*"]}'),
        HEAD + rule_text(message='{zh: "' + "{" * 100_000 + '", en: x}'),
        HEAD + rule_text(message='{zh: "' + "{x}" * 100_000 + '", en: x}'),
        HEAD + rule_text(detect='{dwell: {for: "' + "9" * 100_000 + 's"}}'),
        HEAD + rule_text(detect="{dwell: {for: 1e9s}}"),
        HEAD + rule_text(exempt='[{where: "true", reason: x, until: "9999-12-31"}]'),
        HEAD + rule_text(detect="{dwell: {for: 2m}}", neighbours="[" + "{}, " * 150_000 + "]"),
    ],
    ids=range(37),
)
def test_it_is_refused_soon(text: str) -> None:
    begun = time.process_time()
    bundle, problems = load(text)
    assert time.process_time() - begun < SOON_S
    assert bundle is None
    assert failed(problems)
    assert len(problems) <= 502
    assert all(len(problem.text()) < 3000 for problem in problems)


def test_parentheses_alone_are_no_depth() -> None:
    begun = time.process_time()
    assert load(where("(" * 900 + "true" + ")" * 900))[0] is not None
    assert time.process_time() - begun < SOON_S


def test_a_terminal_is_not_written_to_by_a_rule_file() -> None:
    _, problems = load('version: "\\e[31m"\n"\\e[2J": 1\n')
    assert failed(problems)
    assert not any("\x1b" in problem.text() for problem in problems)


def test_a_zone_pattern_of_stars_is_answered_soon() -> None:
    from rules.language.zones import zone_matches

    begun = time.process_time()
    assert not zone_matches("k/" + "*a" * 90, "k/" + "a" * 5000 + "b")
    assert time.process_time() - begun < 1.0


def test_many_wrong_zones_among_many_are_answered_soon() -> None:
    from dataclasses import replace

    paths = [f"no-parking/road-{n}" for n in range(5000)]
    wrong = ", ".join(f'"no-parking/raod-{n}"' for n in range(600))
    begun = time.process_time()
    _, problems = load(HEAD + rule_text(zones=f"{{in: [{wrong}]}}"), replace(CONTEXT, zone_paths=paths))
    assert time.process_time() - begun < SOON_S
    assert len(problems) == 501
