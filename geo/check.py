"""What `zhinao zones check` and `zhinao registry check` find, for paths as they are written on a command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geo.advice import advise
from geo.offset import Ground
from geo.registry import CODES as REGISTRY_CODES
from geo.registry import Registry, read_registry
from geo.zones import CODES as ZONE_CODES
from geo.zones import Zone, read_written, read_zones
from models.problems import Place, Problem, in_order

REGISTRY_FILES = ("devices.geojson", "segments.geojson", "units.geojson")


def load_zones(paths: Sequence[Path]) -> tuple[list[Zone], list[Problem]]:
    """Zones of files and of all *.geojson in folders, in order of their names."""
    files, problems = read_files(paths, ZONE_CODES.not_json)
    zones, more = read_zones(files)
    return zones, in_order([*problems, *more])


def load_registry(folders: Sequence[Path], zones: Sequence[Zone] = ()) -> tuple[Registry, list[Problem]]:
    """The registry of folders that hold devices.geojson, segments.geojson, units.geojson; each may be absent."""
    paths = [p for folder in folders for p in ([folder] if folder.is_file() else present(folder))]
    missing = [folder for folder in folders if not folder.is_file() and not present(folder)]
    files, problems = read_files(paths, REGISTRY_CODES.not_json)
    problems += [
        Problem(
            place=Place(str(folder)),
            code=REGISTRY_CODES.not_json,
            message=f"the folder holds none of {', '.join(REGISTRY_FILES)}",
        )
        for folder in missing
    ]
    registry, more = read_registry(files, zones)
    return registry, in_order([*problems, *more])


def check_zones(
    paths: Sequence[Path], kinds: Sequence[str] = (), registry: Registry | None = None
) -> tuple[list[Zone], list[Problem]]:
    """As `load_zones`, and what looks odd: `kinds` are patterns of those that rules name, the registry's segments tell
    whether a file is in another system."""
    files, problems = read_files(paths, ZONE_CODES.not_json)
    found, more = read_written(files)
    ground = None if registry is None else Ground.of([], registry)
    problems += [*more, *advise(found, kinds, ground)]
    return [zone for _, zone in found], in_order(problems)


def check_registry(folders: Sequence[Path], zone_paths: Sequence[Path] = ()) -> list[Problem]:
    """With zones, areas are checked too; what is wrong with the zones themselves is not repeated here."""
    zones, _ = load_zones(zone_paths)
    return load_registry(folders, zones)[1]


def present(folder: Path) -> list[Path]:
    return [folder / name for name in REGISTRY_FILES if (folder / name).is_file()]


def read_files(paths: Sequence[Path], code: str) -> tuple[list[tuple[str, bytes]], list[Problem]]:
    files: list[tuple[str, bytes]] = []
    problems: list[Problem] = []
    for path in paths:
        for file in sorted(path.glob("*.geojson")) if path.is_dir() else [path]:
            try:
                files.append((str(file), file.read_bytes()))
            except OSError as why:
                message = f"cannot be read: {(why.strerror or 'unknown cause').lower()}"
                problems.append(Problem(place=Place(str(file)), code=code, message=message))
    return files, problems
