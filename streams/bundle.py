"""All files that make a city run (rules, zones, registry, tables) as bytes: read once, named once, digested once.

What was digested is what is loaded: nothing is opened twice. The same bytes under the same names are the same bundle on
every machine, wherever the folders are. As an archive (a tar, packed with zstd) a bundle can travel and be kept.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import zstandard

from geo.check import REGISTRY_FILES
from models.problems import Place, Problem, in_order

Room = Literal["rules", "zones", "registry", "tables"]
ROOMS: tuple[Room, ...] = ("rules", "zones", "registry", "tables")
MANIFEST = "manifest.json"
MAX_BYTES = 64 << 20
"""Of all files together: a city with a thousand zones has 2 MB."""
LEVEL = 19
CANNOT_READ, NOT_AS_LISTED, TOO_LARGE, NO_RULES = "B101", "B102", "B103", "B104"


class BadArchive(Exception):
    """An archive that is no bundle, or is damaged; one line."""


class Loose(NamedTuple):
    """One file. `name` is what it is called in every copy of the bundle, `shown` what problems call it."""

    room: Room
    name: str
    shown: str
    data: bytes


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """What a folder must hold, written last: sha256 by file name. While its files differ from it, none counts."""

    version: Literal[1]
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Files:
    """A bundle as files; `problems` are those of reading them."""

    held: tuple[Loose, ...]
    problems: tuple[Problem, ...] = ()

    def of(self, room: Room) -> list[Loose]:
        return [file for file in self.held if file.room == room]

    @property
    def digest(self) -> str:
        """Of the names and bytes, and of what could not be read: another is another state of the folders."""
        whole = hashlib.blake2b(digest_size=16)
        for file in sorted(self.held):
            whole.update(f"{file.room}/{file.name}\0{len(file.data)}\0".encode())
            whole.update(file.data)
        for problem in self.problems:
            whole.update(problem.text().encode())
        return whole.hexdigest()


def read_files(rules: Sequence[Path], zones: Sequence[Path], registry: Path | None, tables: Path | None) -> Files:
    """Everything that the settings name. What cannot be read is a problem, nothing raises."""
    reading = _Reading()
    for root in rules:
        reading.take("rules", root)
    for root in zones:
        reading.take("zones", root)
    if registry is not None:
        reading.take("registry", registry)
    if tables is not None:
        reading.take("tables", tables)
    if not any(file.room == "rules" for file in reading.held) and not reading.problems:
        where = ":".join(map(str, rules))
        reading.problem(NO_RULES, Path(where), "no rule file is there", "rules are in *.yaml files")
    return Files(tuple(reading.held), tuple(in_order(reading.problems)))


class _Reading:
    """What was read so far."""

    def __init__(self) -> None:
        self.held: list[Loose] = []
        self.problems: list[Problem] = []
        self.names: set[tuple[Room, str]] = set()
        self.nbytes = 0

    def take(self, room: Room, root: Path) -> None:
        try:
            paths = sorted(files_of(room, root))
            is_folder = root.is_dir()
        except OSError as why:  # a folder that goes while it is listed, or may not be entered
            self.problem(CANNOT_READ, root, f"cannot be read: {(why.strerror or 'unknown cause').lower()}")
            return
        found = [self.one(room, path, root) for path in paths]
        read = [file for file in found if file is not None]
        self.held += read
        if is_folder:
            self.compare(root, {str(Path(f.shown).relative_to(root)): f.data for f in read})
        if room != "rules" and not found and (room != "zones" or not is_folder):
            self.problem(CANNOT_READ, root, "cannot be read: no such file, or nothing of its kind in the folder")

    def one(self, room: Room, path: Path, root: Path) -> Loose | None:
        try:
            if self.nbytes + path.stat().st_size > MAX_BYTES:
                self.problem(TOO_LARGE, path, f"all files together have more than {MAX_BYTES} bytes")
                return None
            data = path.read_bytes()
        except OSError as why:
            self.problem(CANNOT_READ, path, f"cannot be read: {(why.strerror or 'unknown cause').lower()}")
            return None
        if not encodes(str(path)):
            self.problem(CANNOT_READ, Path(str(path).encode(errors="replace").decode()), "its name is no UTF-8")
            return None
        self.nbytes += len(data)
        name = path.relative_to(root).as_posix() if path != root else path.name
        while (room, name) in self.names:
            name = f"_/{name}"
        self.names.add((room, name))
        return Loose(room, name, str(path), data)

    def compare(self, root: Path, found: Mapping[str, bytes]) -> None:
        """With the folder's manifest, if it has one."""
        path = root / MANIFEST
        try:
            listed = msgspec.json.decode(path.read_bytes(), type=Manifest).files
        except FileNotFoundError:
            return
        except OSError as why:
            self.problem(CANNOT_READ, path, f"cannot be read: {(why.strerror or 'unknown cause').lower()}")
            return
        except (msgspec.DecodeError, UnicodeDecodeError) as why:
            self.problem(NOT_AS_LISTED, path, f"no manifest: {why}", HINT)
            return
        for name in sorted(listed.keys() | found.keys()):
            if name not in found:
                self.problem(NOT_AS_LISTED, root / name, f"{path} lists it, it is not there", HINT)
            elif name not in listed:
                self.problem(NOT_AS_LISTED, root / name, f"{path} does not list it", HINT)
            elif sha256(found[name]) != listed[name].lower():
                self.problem(NOT_AS_LISTED, root / name, f"its bytes are not those that {path} lists", HINT)

    def problem(self, code: str, path: Path, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(place=Place(str(path)), code=code, message=message, hint=hint))


HINT = "write the files first and the manifest last: zhinao rules publish --manifest"


def short(digest: str) -> str:
    """As people are told it: the whole could look like a telephone number, which logs hide."""
    return digest[:8]


def encodes(name: str) -> bool:
    """Whether a file's name is UTF-8 on the disk."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_of(room: Room, root: Path) -> Iterator[Path]:
    """The files below a root that count, also those that cannot be opened."""
    if not root.is_dir():
        if room == "rules" or root.is_symlink() or root.exists():
            yield root
        return
    match room:
        case "rules":
            for suffix in ("yaml", "yml"):
                yield from (p for p in root.rglob(f"*.{suffix}") if not p.is_dir() and not p.stem.endswith("_test"))
        case "zones":
            yield from (p for p in root.glob("*.geojson") if not p.is_dir())
        case "registry":
            yield from (path for name in REGISTRY_FILES if (path := root / name).is_symlink() or path.exists())
        case "tables":
            yield from (p for p in root.glob("*.yaml") if not p.is_dir())


def write_manifest(room: Room, root: Path) -> int:
    """List what the folder holds now, in one step; gives how many files. OSError where that cannot be done."""
    listed = {path.relative_to(root).as_posix(): sha256(path.read_bytes()) for path in sorted(files_of(room, root))}
    text = msgspec.json.format(msgspec.json.encode(Manifest(1, listed)), indent=2)
    beside = root / f".{MANIFEST}.new"
    beside.write_bytes(text + b"\n")
    beside.rename(root / MANIFEST)
    return len(listed)


# archives


def pack(files: Files) -> bytes:
    """The same bytes for the same bundle, always."""
    room_of = io.BytesIO()
    with tarfile.open(fileobj=room_of, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(files.held):
            entry = tarfile.TarInfo(f"{file.room}/{file.name}")
            entry.size, entry.mode = len(file.data), 0o644
            tar.addfile(entry, io.BytesIO(file.data))
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(room_of.getvalue())


def unpack(archive: bytes, digest: str | None = None) -> Files:
    """The bundle of an archive; problems call a file `<room>/<name>`. Raises BadArchive, also where the digest is
    another."""
    try:
        raw = zstandard.ZstdDecompressor().decompress(archive, max_output_size=MAX_BYTES + (8 << 20))
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
            held = tuple(_loose(tar, entry) for entry in tar)
    except (zstandard.ZstdError, tarfile.TarError, ValueError) as why:
        raise BadArchive(f"no bundle: {why}") from None
    files = Files(held)
    if digest is not None and files.digest != digest:
        raise BadArchive(f"its digest is {files.digest}, not {digest}")
    return files


def _loose(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Loose:
    room, _, name = entry.name.partition("/")
    found = next((known for known in ROOMS if known == room), None)
    opened = tar.extractfile(entry) if entry.isreg() else None
    if found is None or opened is None or not name:
        raise ValueError(f"{entry.name!r} does not belong into one")
    return Loose(found, name, entry.name, opened.read())
