"""Every test of the Detector runs twice: with its loops as machine code, and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rules.detection import stage


@pytest.fixture(autouse=True, scope="module", params=["compiled", "plain"])
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    before, stage.COMPILED = stage.COMPILED, request.param == "compiled"
    yield
    stage.COMPILED = before
