"""The products that providers deliver, a file each: folders and archives of several files, brought to one description.

A file `NAME.py` here has `matches(path)`, whether a folder, archive or file of metadata is such a product, and
`product(path)`, a `Product`, with SceneError where it cannot be used. Nothing is decoded, and a file that the metadata
name outside of the product is refused.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, cast
from xml.etree import ElementTree

from satae.choices import Choices
from satae.errors import SceneError
from satae.scene import wavelengths
from satae.scene.source import Band, Exclusion, Source

MAX_METADATA = 16 << 20  # bytes
MAX_HEADER = 1 << 16  # bytes of one in a .tar
MAX_MEMBERS = 10_000  # files in a .tar


@dataclass(frozen=True)
class Product:
    """One acquisition: its bands, each with the source that holds it, and what the provider says of them.

    `usual` are the names of the bands that are used where none are asked for: those of the finest sampling distance.
    `fill` excludes pixels that hold nothing, `clouds` those that the provider takes for cloud or its shadow. `day` is
    the day of acquisition as ISO 8601.
    """

    path: Path
    name: str
    kind: str
    day: str
    bands: tuple[tuple[Source, Band], ...]
    usual: tuple[str, ...]
    fill: tuple[Exclusion, ...] = ()
    clouds: tuple[Exclusion, ...] = ()
    baseline: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """How far the provider has processed it, such as L2A; empty where the kind does not say."""
        found = re.search(r"\bL\d\w*$", self.kind)
        return found[0] if found else ""

    @property
    def sensor(self) -> str:
        """What took it, as its kind says."""
        return self.kind.removesuffix(self.level).strip()


def cube(path: Path, kind: str, source: Source, day: str, baseline: str) -> Product:
    """The product that is one file of narrow bands, of which those that the provider calls good are usual."""
    return Product(
        path=path,
        name=path.stem,
        kind=kind,
        day=day,
        bands=tuple((source, band) for band in source.bands),
        usual=tuple(band.name for band in source.bands if band.good),
        baseline=baseline,
        remarks=wavelengths.left_out(source.bands, f"{path} marks", "as bad"),
    )


def without(path: Path, lacking: Sequence[str], count: int) -> tuple[str, ...]:
    """A remark that a product lacks some of the `count` images that its metadata name, where it does."""
    if not lacking:
        return ()
    some = f"{', '.join(lacking[:3])}{' and others' if len(lacking) > 3 else ''}"
    return (
        f"{path} lacks {len(lacking)} of the {count} images that its metadata name ({some}); the others are used",
    )


class Provider(Protocol):
    """The functions of each file of this folder; see above."""

    def matches(self, path: Path) -> bool: ...
    def product(self, path: Path) -> Product: ...


PROVIDERS = Choices.of(__name__, __path__, "product", "product")


def at(path: Path) -> Product | None:
    """The product at a path; None where there is none that satae knows."""
    # by name and metadata alone: no pixel is decoded to know what it is
    for name in PROVIDERS.names:
        provider = cast(Provider, PROVIDERS.module(name))
        try:
            found = provider.matches(path)
        except OSError:  # a name that no file can have; whoever reads the file says so
            return None
        if found:
            return provider.product(path)
    return None


class Files:
    """The files of a product, in a folder, or in a .zip or .tar as it was downloaded; names are relative, with /.

    Nothing is unpacked: a name in an archive is never that of a file on this machine.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.zipped = path.is_file() and path.suffix.lower() != ".tar"
        self._spans: dict[str, tuple[int, int]] = {}
        try:
            if path.is_file() and not self.zipped:
                self._spans = spans(path)
            self.names = sorted(self._inside())
        except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise SceneError(f"{path} cannot be read: {error}; the download may have ended early") from error

    def _inside(self) -> Iterator[str]:
        if self._spans:
            yield from self._spans
        elif self.zipped:
            with zipfile.ZipFile(self.path) as archive:
                yield from archive.namelist()
        else:
            for file in self.path.rglob("*"):
                # a link may lead out of the product
                if file.is_file() and not file.is_symlink():
                    yield file.relative_to(self.path).as_posix()

    def ending(self, end: str) -> list[str]:
        """The names that end so, shortest first."""
        return sorted((n for n in self.names if n.endswith(end)), key=lambda n: (len(n), n))

    def holds(self, name: str) -> bool:
        """Whether there is such a file; SceneError for a name that leads out of the product."""
        if ".." in PurePosixPath(name).parts or ":/" in name or name.startswith("/"):
            raise SceneError(
                f"the metadata of {self.path} name {name}, which lies outside of it; do not trust it"
            )
        return name in self.names

    def text(self, name: str) -> str:
        """A file of metadata."""
        try:
            size, content = self._content(name)
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise SceneError(f"{name} in {self.path} cannot be read: {error}") from error
        if size > MAX_METADATA:
            raise SceneError(
                f"{name} in {self.path} is larger than {MAX_METADATA >> 20} MiB, the limit for metadata"
            )
        return content.decode("utf-8", errors="replace")

    def _content(self, name: str) -> tuple[int, bytes]:
        """The bytes that a file of metadata claims, and those that it has where they are not too many."""
        if self._spans:
            first, size = self._spans[name]
            with self.path.open("rb") as file:
                file.seek(first)
                return size, file.read(size) if size <= MAX_METADATA else b""
        if self.zipped:
            with zipfile.ZipFile(self.path) as archive:
                # a size is a claim, but zipfile gives no more bytes than it
                size = archive.getinfo(name).file_size
                return size, archive.read(name) if size <= MAX_METADATA else b""
        size = (self.path / name).stat().st_size
        return size, (self.path / name).read_bytes() if size <= MAX_METADATA else b""

    def xml(self, name: str) -> ElementTree.Element:
        """A file of metadata in XML, without what could lead to other files."""
        text = self.text(name)
        # entities may stand for other files, or for gigabytes
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise SceneError(f"{name} in {self.path} declares entities, which metadata of products do not")
        try:
            return ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise SceneError(
                f"{name} in {self.path} is damaged: {error}; download the product again"
            ) from error

    def place(self, name: str) -> tuple[Path, str, tuple[int, int] | None]:
        """What `readers.source` takes for a name; SceneError where the product does not hold it."""
        if not self.holds(name):
            raise SceneError(f"{self.path} lacks {name}, which its metadata name; download the product again")
        if self._spans:
            return self.path, "", self._spans[name]
        return (self.path, name, None) if self.zipped else (self.path / name, "", None)


class _Headers(io.BufferedReader):
    """A .tar of which headers alone are read: one that claims more than those of products need is refused."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return super().read(size)


def spans(path: Path) -> dict[str, tuple[int, int]]:
    """(first byte, bytes) of each plain file in a .tar; links, devices and sparse files are left out."""
    found, end = {}, path.stat().st_size
    with _Headers(io.FileIO(path)) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
            if not member.isreg() or member.issparse():
                continue
            if member.offset_data + member.size > end:
                raise tarfile.ReadError(f"{member.name} is not there to its end")
            found[member.name.removeprefix("./")] = member.offset_data, member.size
            if len(found) > MAX_MEMBERS:
                raise tarfile.ReadError(f"it holds more than {MAX_MEMBERS} files")
    return found
