"""New rules in a worker that goes on: what is wrong in whatever way leaves the old ones live, and is told once."""

from __future__ import annotations

import asyncio
import io
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner, Result

from models.problems import Problem
from rules.language.load import Context, SourceFile, load_rules
from streams.bundle import MANIFEST, BadArchive, Files, pack, read_files, unpack, write_manifest
from streams.bundle_topic import KEPT, Assembling, Published, outdated, records_of
from streams.city import City, CityProblems, city_of
from streams.clock import ManualClock
from streams.commands.group import zhinao
from streams.reloading import BundleStatus, FolderSource, Reloading
from streams.settings import SHIPPED_REGISTRY, SHIPPED_RULES, SHIPPED_TABLES, SHIPPED_ZONES, Settings

CUT = "parking.yaml"
KEY = "zhinao/pinghu"


class Town:
    """The shipped files in a folder of our own, and a worker's reloading of it, a turn at a time."""

    def __init__(self, folder: Path) -> None:
        self.rules, self.zones = folder / "rules", folder / "zones"
        shutil.copytree(SHIPPED_RULES, self.rules)
        shutil.copytree(SHIPPED_ZONES, self.zones)
        self.registry, self.tables = folder / "registry", folder / "tables"
        shutil.copytree(SHIPPED_REGISTRY, self.registry)
        shutil.copytree(SHIPPED_TABLES, self.tables)
        self.settings = Settings.read(rules=str(self.rules), zones=str(self.zones))
        self.swapped: list[City] = []
        live = self.read()
        self.status = BundleStatus(live.digest)
        source = FolderSource(self.read, live.digest)
        city = city_of(live, self.settings)
        self.reloading = Reloading(source, self.settings, city, self._swap, self.status, ManualClock(), 2.0)

    def read(self) -> Files:
        return read_files((self.rules,), (self.zones,), self.registry, self.tables)

    async def _swap(self, city: City) -> None:
        self.swapped.append(city)

    def turns(self, number: int = 2) -> list[Problem]:
        """What is wrong with the newest after so many looks."""

        async def look() -> None:
            for _ in range(number):
                await self.reloading.turn()

        asyncio.run(look())
        return self.status.problems

    @property
    def cut(self) -> Path:
        return self.rules / CUT


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


def test_with_a_manifest_no_file_that_is_cut_short_anywhere_counts(town: Town) -> None:
    whole = town.cut.read_bytes()
    write_manifest("rules", town.rules)
    for end in range(len(whole)):
        town.cut.write_bytes(whole[:end])
        assert [(p.code, p.place.file) for p in town.read().problems] == [("B102", str(town.cut))]
    town.cut.write_bytes(whole)
    assert town.read().problems == ()


def test_without_one_a_file_that_is_cut_short_anywhere_is_refused_too() -> None:
    """It has one rule: cut at any byte it has an error, or no rule any more."""
    whole = (SHIPPED_RULES / CUT).read_bytes().rstrip()
    for end in range(len(whole)):
        rules, problems = loaded(whole[:end])
        errors = [problem for problem in problems if problem.severity == "error"]
        assert errors or not rules
        assert all(problem.place.file == CUT for problem in errors)


def loaded(data: bytes) -> tuple[tuple[Any, ...], list[Problem]]:
    bundle, problems = load_rules([SourceFile(CUT, data)], Context())
    return () if bundle is None else bundle.rules, problems


def empty(town: Town) -> None:
    town.cut.write_bytes(b"")


def invalid(town: Town) -> None:
    town.cut.write_bytes(b"version: 1\nrules: [\n")


def half(town: Town) -> None:
    town.cut.write_bytes(town.cut.read_bytes()[:700])


def before_the_rules(town: Town) -> None:
    whole = town.cut.read_bytes()
    town.cut.write_bytes(whole[: whole.index(b"rules:")])


def twice(town: Town) -> None:
    shutil.copy(town.cut, town.rules / "again.yaml")


def huge(town: Town) -> None:
    town.cut.write_bytes(town.cut.read_bytes() + b"#" * 5_000_000)


def nowhere(town: Town) -> None:
    town.cut.unlink()
    town.cut.symlink_to("gone.yaml")


def circle(town: Town) -> None:
    town.cut.unlink()
    town.cut.symlink_to(town.cut)


def no_rules(town: Town) -> None:
    for path in town.rules.glob("*.yaml"):
        path.unlink()


def wrong_manifest(town: Town) -> None:
    write_manifest("rules", town.rules)
    (town.rules / MANIFEST).write_text('{"version": 1, "files": {"parking.yaml": "00"}}')


def no_manifest(town: Town) -> None:
    (town.rules / MANIFEST).write_bytes(b'{"version": 1, "fil')


def deleted(town: Town) -> None:
    write_manifest("rules", town.rules)
    town.cut.unlink()


def crossing_zone(town: Town) -> None:
    file = next(town.zones.glob("*.geojson"))
    ring = "[[121.01,30.69],[121.02,30.70],[121.02,30.69],[121.01,30.70],[121.01,30.69]]"
    feature = '{"type":"Feature","id":"x","properties":{"kind":"no-parking","area":"danghu"},"geometry":'
    shape = '{"type":"Polygon","coordinates":[' + ring + "]}"
    file.write_text('{"type":"FeatureCollection","features":[\n' + feature + shape + "}]}")


def no_zone(town: Town) -> None:
    next(town.zones.glob("*.geojson")).write_bytes(b"")


FAULTS: dict[str, tuple[Callable[[Town], None], str]] = {
    "empty": (empty, "rules/parking.yaml"),
    "invalid": (invalid, "rules/parking.yaml"),
    "half": (half, "rules/parking.yaml"),
    "cut before its rules": (before_the_rules, "rules/parking.yaml"),
    "same id twice": (twice, "rules/parking.yaml"),
    "5 MB": (huge, "rules/parking.yaml"),
    "link to nowhere": (nowhere, "rules/parking.yaml"),
    "link to itself": (circle, "rules/parking.yaml"),
    "no rules": (no_rules, "rules"),
    "wrong manifest": (wrong_manifest, "rules/parking.yaml"),
    "half a manifest": (no_manifest, "rules/manifest.json"),
    "deleted": (deleted, "rules/parking.yaml"),
    "a zone that crosses itself": (crossing_zone, "zones/pinghu.geojson"),
    "no zones": (no_zone, "zones/pinghu.geojson"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_is_wrong_leaves_the_old_bundle_live_and_is_told_once_with_its_place(
    town: Town, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    live = town.status.digest
    shutil.copytree(town.rules, town.rules.parent / "kept")
    shutil.copytree(town.zones, town.zones.parent / "kept-zones")
    make, where = FAULTS[fault]
    make(town)
    problems = town.turns(6)
    assert any(problem.place.file == str(town.rules.parent / where) for problem in problems), problems
    assert (town.status.digest, town.status.refusals, town.swapped) == (live, 1, [])
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1
    assert town.status.facts()["bundle_rejected"] is not None
    for name, kept in (("rules", "kept"), ("zones", "kept-zones")):
        shutil.rmtree(town.rules.parent / name)
        shutil.copytree(town.rules.parent / kept, town.rules.parent / name)
    assert town.turns() == []  # as it was: nothing to swap, nothing wrong
    assert (town.status.digest, town.swapped) == (live, [])


def test_a_file_that_may_not_be_read_leaves_the_old_bundle_live(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path == town.cut:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    (problem,) = town.turns()
    assert (problem.code, problem.place.file) == ("B101", str(town.cut))
    assert "permission denied" in problem.message
    assert town.swapped == []


def test_a_good_edit_is_live_after_two_looks_that_find_the_same(town: Town) -> None:
    town.cut.write_bytes(town.cut.read_bytes().replace(b"max_gap: 20s", b"max_gap: 21s"))
    town.turns(1)
    assert town.swapped == []
    town.turns(1)
    (city,) = town.swapped
    assert town.status.digest == city.files.digest == town.read().digest
    town.turns(5)
    assert (len(town.swapped), town.status.swaps) == (1, 1)


def test_a_file_that_is_still_being_written_is_waited_for(town: Town) -> None:
    whole = town.cut.read_bytes()
    for end in range(0, len(whole), 100):
        town.cut.write_bytes(whole[:end])
        town.turns(1)
    town.cut.write_bytes(whole + b"# mended\n")
    town.turns(2)
    assert (len(town.swapped), town.status.refusals) == (1, 0)


def test_a_folder_swapped_by_its_link_counts_at_once_and_whole(town: Town, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    shutil.move(town.rules, one)
    shutil.copytree(one, two)
    for path in two.glob("*.yaml"):
        path.write_bytes(path.read_bytes() + b"# edited\n")
    town.rules.symlink_to(one)
    town.turns()
    assert town.swapped == []  # the same bytes under the same names
    (tmp_path / "new").symlink_to(two)
    (tmp_path / "new").rename(town.rules)
    town.turns()
    (city,) = town.swapped
    assert all(file.data.endswith(b"# edited\n") for file in city.files.of("rules"))


def test_a_bundle_is_the_same_wherever_its_folders_are(town: Town) -> None:
    shipped = read_files((SHIPPED_RULES,), (SHIPPED_ZONES,), SHIPPED_REGISTRY, SHIPPED_TABLES)
    assert town.read().digest == shipped.digest
    assert pack(town.read()) == pack(shipped)
    back = unpack(pack(shipped), shipped.digest)
    assert city_of(back, town.settings).bundle.digest == city_of(shipped, town.settings).bundle.digest


def test_a_byte_that_moves_from_one_file_to_the_next_makes_another_bundle(town: Town) -> None:
    names = sorted(town.rules.glob("*.yaml"))[:2]
    first, second = (path.read_bytes() for path in names)
    before = town.read().digest
    names[0].write_bytes(first + second[:1])
    names[1].write_bytes(second[1:])
    assert town.read().digest != before


def test_no_damaged_archive_is_taken(town: Town) -> None:
    files = town.read()
    archive = pack(files)
    for at in range(0, len(archive), 97):
        damaged = archive[:at] + bytes([archive[at] ^ 0x40]) + archive[at + 1 :]
        with pytest.raises(BadArchive):
            unpack(damaged, files.digest)
        with pytest.raises(BadArchive):
            unpack(archive[:at], files.digest)


@pytest.mark.parametrize("name", ["../rules/x.yaml", "/etc/x", "secrets/x", "rules/"])
def test_an_archive_with_anything_else_in_it_is_refused(name: str) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    with pytest.raises(BadArchive):
        unpack(zstandard.ZstdCompressor().compress(held.getvalue()))


def on_topic(files: Files, revision: int) -> list[tuple[str, bytes]]:
    return list(records_of(files, KEY, "pinghu", revision, "2026-03-02T07:10:00.000+08:00"))


def taken(assembling: Assembling, records: list[tuple[str, bytes]], first: int = 0) -> list[Published]:
    found = [assembling.take(first + n, key.encode(), value) for n, (key, value) in enumerate(records)]
    return [one for one in found if one is not None]


def test_a_bundle_is_there_with_its_head_and_not_before(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.bundle_topic.PART_CHARS", 3_000)
    files, assembling = town.read(), Assembling(KEY)
    records = on_topic(files, 7)
    assert len(records) > 4
    assert taken(assembling, records[:-1]) == []
    (found,) = taken(assembling, records[-1:], len(records) - 1)
    assert (found.files.digest, found.revision, found.offset) == (files.digest, 7, len(records) - 1)
    assert max(len(value) for _, value in records) < 4_000


def test_a_head_whose_parts_are_gone_is_refused_with_the_record_it_came_with(town: Town) -> None:
    (found,) = taken(Assembling(KEY), on_topic(town.read(), 7)[-1:], 41)
    (problem,) = found.files.problems
    assert (problem.code, problem.place.file) == ("B105", "rules.bundle/0/41")
    with pytest.raises(CityProblems):
        city_of(found.files, town.settings)


def test_what_others_send_to_the_topic_is_passed_over(town: Town) -> None:
    strange = [("zhinao/other", b"{}"), (KEY, b"not json"), (f"{KEY}/x/1", b"[]"), (f"{KEY}x", b"")]
    assembling = Assembling(KEY)
    assert taken(assembling, strange) == []
    assert taken(assembling, on_topic(town.read(), 1))[0].files.digest == town.read().digest


def test_the_parts_of_the_last_bundles_stay_and_older_ones_go(town: Town) -> None:
    assembling, files = Assembling(KEY), town.read()
    for number in range(KEPT + 3):
        other = replace(files, held=(files.held[0]._replace(data=b"# %d" % number), *files.held[1:]))
        taken(assembling, on_topic(other, number))
    gone = outdated(assembling.heads, KEY, files.digest)
    assert len(gone) == 4
    for key in gone:
        assembling.take(99, key.encode(), None)
    assert len(assembling.revisions()) == KEPT - 1
    assert assembling.whole(0) is None
    assert assembling.whole(KEPT + 2) is not None


def publish(town: Town, *arguments: str) -> Result:
    environment = {"ZHINAO_RULES": str(town.rules), "ZHINAO_ZONES": str(town.zones)}
    places = {"ZHINAO_REGISTRY": str(town.registry), "ZHINAO_TABLES": str(town.tables)}
    given = ["rules", "publish", *arguments]
    return CliRunner().invoke(zhinao, given, prog_name="zhinao", env={**environment, **places})


def test_manifests_are_written_of_what_has_no_error_and_make_an_edit_live(town: Town) -> None:
    assert publish(town, "--manifest").exit_code == 0
    assert all((folder / MANIFEST).is_file() for folder in (town.rules, town.zones, town.registry, town.tables))
    town.cut.write_bytes(town.cut.read_bytes().replace(b"max_gap: 20s", b"max_gap: 21s"))
    assert {problem.code for problem in town.turns()} == {"B102"}
    assert publish(town, "--manifest").exit_code == 0
    assert town.turns() == []
    assert len(town.swapped) == 1
    listed = (town.rules / MANIFEST).read_bytes()
    town.cut.write_bytes(b"version: 1\nrules: [\n")
    refused = publish(town, "--manifest")
    assert (refused.exit_code, (town.rules / MANIFEST).read_bytes()) == (1, listed)
    assert f"{town.cut}:" in refused.stdout


def test_going_back_takes_no_files_beside_it(town: Town) -> None:
    assert publish(town, "--back-to", "3", str(town.rules)).exit_code == 2
