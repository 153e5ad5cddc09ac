"""One file of checked members: a tar whose first member says what the others are, each compressed with zstd.

    manifest.json            what it is, and for every member its size, its number of records and its SHA-256
    manifest.json.sha256     as `sha256sum -c` takes it
    tables/desk/0.frames.zst records one after the other: length (4 bytes, little endian), MessagePack
    city/rules/0/water.yaml.zst   a file as it is

It is written beside its name and renamed when it was read again; an existing file is never replaced. Mode 0600.
"""

import hashlib
import io
import os
import shutil
import struct
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import msgspec
import zstandard

from streams.store import sync_folder

MANIFEST, MANIFEST_SUM = "manifest.json", "manifest.json.sha256"
FRAMES, FILE = ".frames.zst", ".zst"
LENGTH = struct.Struct("<I")
READ_BYTES = 1024 * 1024
LEVEL = 3
PRIVATE = 0o600

T = TypeVar("T")


class ArchiveError(Exception):
    """The file cannot be written or is not whole; the message names it, and the member."""


class Member(msgspec.Struct, frozen=True):
    """One file in the archive. `bytes` and `sha256` are of what is stored: compressed."""

    name: str
    records: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """`about` is the writer's."""

    format: int
    about: dict[str, Any]
    members: list[Member]


FORMAT = 1


class ArchiveWriter:
    """Gathers members in a folder beside the file. A context manager: what is not finished leaves nothing."""

    def __init__(self, path: Path) -> None:
        """Raises `ArchiveError` if the file is there."""
        self._path = path
        self._members: list[Member] = []
        if path.exists():
            raise ArchiveError(f"{path} exists, and no backup is ever replaced: give another name")
        try:
            self._folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))  # mode 0700
        except FileNotFoundError:
            raise ArchiveError(f"{path}: there is no folder {str(path.parent)!r}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def add_records(self, name: str, records: Iterable[object]) -> int:
        """A member of records; how many there were."""
        return self._add(name + FRAMES, map(_framed, records))

    def add_file(self, name: str, path: Path) -> None:
        """A member that is a file."""
        self._add(name + FILE, [path.read_bytes()])

    def finish(self, about: dict[str, Any]) -> Manifest:
        """Put it together, read it again, give it its name."""
        manifest = Manifest(FORMAT, about, self._members)
        whole = self._folder / "whole.tar"
        with whole.open("xb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
            self._put(tar, MANIFEST, text)
            self._put(tar, MANIFEST_SUM, f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n".encode())
            for number, member in enumerate(self._members):
                tar.add(self._folder / str(number), member.name, filter=_anonymous)
            tar.close()
            file.flush()
            os.fsync(file.fileno())
        with ArchiveReader(whole):
            whole.chmod(PRIVATE)
        try:
            os.link(whole, self._path)  # unlike a rename, it fails where a file is
        except FileExistsError:
            raise ArchiveError(f"{self._path} exists by now, and no backup is ever replaced") from None
        sync_folder(self._path.parent)
        return manifest

    def _add(self, name: str, parts: Iterable[bytes]) -> int:
        digest, count = hashlib.sha256(), 0
        beside = self._folder / str(len(self._members))
        with beside.open("xb") as file:
            packing = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
            for part in parts:
                file.write(packing.compress(part))
                count += 1
            file.write(packing.flush())
        with beside.open("rb") as file:
            while part := file.read(READ_BYTES):
                digest.update(part)
        self._members.append(Member(name, count, beside.stat().st_size, digest.hexdigest()))
        return count

    @staticmethod
    def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), PRIVATE
        tar.addfile(info, io.BytesIO(content))


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def _framed(record: object) -> bytes:
    packed = msgspec.msgpack.encode(record)
    return LENGTH.pack(len(packed)) + packed


class ArchiveReader:
    """An archive of which every member was checked. A context manager."""

    def __init__(self, path: Path) -> None:
        """Raises `ArchiveError`, which names the member, for what is not whole; OSError for what is not there."""
        self._path = path
        self._file = path.open("rb")
        try:
            self._tar = self._opened()
            self.manifest = self._checked_manifest()
            self._members = {member.name: member for member in self.manifest.members}
            self._check_members()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def names(self, under: str) -> list[str]:
        """Members under a folder, without the endings that say how they are stored, in order."""
        return [name.removesuffix(FRAMES).removesuffix(FILE) for name in self._members if name.startswith(f"{under}/")]

    def records(self, name: str, kind: type[T]) -> Iterator[T]:
        """What `add_records` was given."""
        decoder = msgspec.msgpack.Decoder(kind)
        with zstandard.ZstdDecompressor().stream_reader(self._stored(name + FRAMES)) as stream:
            while head := _exactly(stream, LENGTH.size):
                (length,) = LENGTH.unpack(head)
                yield decoder.decode(_exactly(stream, length))

    def content(self, name: str) -> bytes:
        """What `add_file` was given."""
        with zstandard.ZstdDecompressor().stream_reader(self._stored(name + FILE)) as stream:
            return stream.read()

    def _opened(self) -> tarfile.TarFile:
        try:
            return tarfile.open(fileobj=self._file, mode="r:")
        except tarfile.TarError as exc:
            raise ArchiveError(f"{self._path} is no backup of ours: {exc}") from exc

    def _checked_manifest(self) -> Manifest:
        text, told = self._stored(MANIFEST).read(), self._stored(MANIFEST_SUM).read()
        if told.split()[:1] != [hashlib.sha256(text).hexdigest().encode()]:
            raise self._damaged(MANIFEST, "its checksum is another")
        form = msgspec.json.decode(text).get("format")
        if form != FORMAT:
            raise ArchiveError(f"{self._path} has format {form!r}; this version reads {FORMAT}")
        return msgspec.json.decode(text, type=Manifest)

    def _check_members(self) -> None:
        for member in self._members.values():
            digest, stored = hashlib.sha256(), self._stored(member.name)
            try:
                while part := stored.read(READ_BYTES):
                    digest.update(part)
            except tarfile.TarError as exc:
                raise self._damaged(member.name, str(exc)) from exc
            if digest.hexdigest() != member.sha256:
                raise self._damaged(member.name, "its checksum is another")
            if ".." in PurePosixPath(member.name).parts or member.name.startswith("/"):
                raise self._damaged(member.name, "its name leads elsewhere")

    def _stored(self, name: str) -> IO[bytes]:
        stored = None
        with suppress(KeyError, tarfile.TarError):
            stored = self._tar.extractfile(name)
        if stored is None:
            raise self._damaged(name, "it is missing")
        return stored

    def _damaged(self, name: str, cause: str) -> ArchiveError:
        return ArchiveError(f"{self._path}: {name} is damaged: {cause}")


def _exactly(stream: Any, length: int) -> bytes:
    parts, left = [], length
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
