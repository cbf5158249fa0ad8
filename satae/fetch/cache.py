"""The cache of fetched files: whole ones under their names, begun ones beside them, to go on from where they ended."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TypeVar

from satae.console import Bar
from satae.errors import OutputError, SceneError
from satae.fetch import links, s3, web
from satae.fetch.web import Answer, Current, Failure, Web
from satae.publish import lock

Given = TypeVar("Given")

LARGEST = 200 << 30  # bytes of the whole cache
SMALLEST_DISK = 256 << 20  # bytes that are left free
TRIES = 4
PAUSE = 1.0  # seconds before the second try; twice as many before each one after it
SLOWEST = 1000  # bytes a second over PATIENCE, below which a server counts as stalled
# codes of the multihash table, https://multiformats.io/multihash
HASHES = {
    0x11: "sha1",
    0x12: "sha256",
    0x13: "sha512",
    0x14: "sha3_512",
    0x16: "sha3_256",
    0x20: "sha384",
    0xD5: "md5",
}


@dataclass(frozen=True)
class Remote:
    """A file to fetch, and what is known of it beforehand: size and multihash, where they are stated."""

    link: str
    target: Path
    size: int | None = None
    checksum: str = ""


@dataclass(frozen=True)
class State:
    """What a server said of a file when it was fetched: of the address without credentials, and a digest of it."""

    link: str
    digest: str
    validator: str
    total: int | None


def default_folder() -> Path:
    """The folder for caches of this user, as the system has it."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "satae" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "satae"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "satae"


def place(cache: Path, link: str) -> Path:
    """The folder of what comes from an address, made where it is not there."""
    folder = cache / _digest(link)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the cache {cache} cannot be written: {error.strerror}; choose another with --cache"
        ) from error
    return folder


def document(link: str, client: Web, largest: int) -> bytes:
    """A small file, which stays in memory: items may hold signed addresses. SceneError where it does not come whole."""
    shown = links.bare(link)

    def attempt() -> bytes:
        content = bytearray()
        with client.get(_address(link)) as answer:
            for piece in answer.pieces:
                content += piece
                if len(content) > largest:
                    raise Failure(f"{shown} is larger than {largest >> 20} MiB, the limit for items")
        if answer.total is not None and len(content) != answer.total:
            raise Failure(
                f"the server ended {shown} after {len(content)} of {answer.total} bytes", passes=True
            )
        return bytes(content)

    return _persist(attempt)


def fetch(remote: Remote, client: Web, cache: Path, bar: Bar) -> Path:
    """The file in the cache, as the server has it now.

    What is there already is asked for only whether it changed; what was begun goes on where it ended if it did not.
    Raises SceneError where the server does not give it whole, and leaves nothing under its name.
    """
    with lock(remote.target):
        download = _Download(remote, client, cache, bar)
        try:
            download.run()
        except OSError as error:
            raise OutputError(f"{remote.target} could not be written: {error.strerror or error}") from error
    return remote.target


class _Download:
    """One file on its way into the cache."""

    def __init__(self, remote: Remote, client: Web, cache: Path, bar: Bar) -> None:
        self.remote, self.client, self.cache, self.bar = remote, client, cache, bar
        target = remote.target
        self.part = target.with_name(f".{target.name}.part")
        self.begun = target.with_name(f".{target.name}.part.json")
        self.whole = target.with_name(f".{target.name}.json")
        self.shown, self.digest = links.bare(remote.link), _digest(remote.link)
        self.fresh = False  # whether this process has fetched some of it

    def run(self) -> None:
        """Fetch what is missing; what cannot go on another day is taken away."""
        try:
            _persist(self._attempt)
        except Current:
            pass
        except SceneError as error:
            if self._state() is None:
                self._drop()
                raise
            raise SceneError(f"{error}; run the same again to go on from there") from None

    def _attempt(self) -> None:
        state, have, unless = self._state(), 0, ""
        # what is whole is asked whether it changed, what was begun for the rest
        if state is None:
            unless = self._unless()
        else:
            have = self.part.stat().st_size
        validator = "" if state is None else state.validator
        # signed anew at each try
        link = _address(self.remote.link)
        try:
            with self.client.get(link, start=have, state=validator, unless=unless) as answer:
                self._take(answer, state)
        except Failure as error:
            if not error.passes:
                self._drop()
            raise

    def _take(self, answer: Answer, state: State | None) -> None:
        self._check(answer, state)
        self.bar.total = float(answer.total or 0)
        with self.part.open("ab" if answer.start else "wb") as file:
            # what was begun is known by this, so not before the rest of another state is gone
            _write(self.begun, State(self.shown, self.digest, answer.validator, answer.total))
            got = self._receive(answer, file)
            os.fsync(file.fileno())
        # Python's client takes an early end of a stream for the end
        if answer.total is not None and got != answer.total:
            raise Failure(f"the server ended {self.shown} after {got} of {answer.total} bytes", passes=True)
        self._settle(got)

    def _check(self, answer: Answer, state: State | None) -> None:
        """Failure where what comes is no continuation of what was begun, or not the file that is wanted."""
        if state is not None and (answer.validator, answer.total) != (state.validator, state.total):
            if self.fresh:
                raise Failure(f"{self.shown} changed on the server while it was fetched; try again")
            if answer.start:
                # begun on another day, and the server should not have gone on
                self._drop()
                raise Failure(f"the server goes on with another state of {self.shown}", passes=True)
        stated = self.remote.size
        if answer.total is not None and stated is not None and answer.total != stated:
            raise Failure(f"{self.shown} has {answer.total} bytes and its item says {stated}")
        self._check_room((answer.total or 0) - answer.start)

    def _check_room(self, size: int) -> None:
        # counted anew, for other processes fetch too
        used = sum(p.stat().st_size for p in self.cache.rglob("*") if p.is_file())
        if used + size > LARGEST:
            raise SceneError(
                f"{self.shown} has {size / 2**30:.1f} GiB and the cache {self.cache} {used / 2**30:.1f} of at most "
                f"{LARGEST >> 30}; remove what is not needed there, or choose another with --cache"
            )
        if size + SMALLEST_DISK > shutil.disk_usage(self.cache).free:
            raise OutputError(
                f"{self.cache} has no room for {self.shown}, {size / 2**30:.1f} GiB; choose another disk with --cache"
            )

    def _receive(self, answer: Answer, file: IO[bytes]) -> int:
        """Write all pieces; how many bytes there are then. Failure where they come too slowly, or do not end."""
        got = mark = answer.start
        since = time.monotonic()
        for piece in answer.pieces:
            file.write(piece)
            # what has come is there for another run, however this one ends
            file.flush()
            self.fresh = True
            got += len(piece)
            self.bar.update(got)
            if got > (answer.total or LARGEST):
                raise Failure(f"the server sends more of {self.shown} than it said")
            if (now := time.monotonic()) - since > web.PATIENCE:
                if got - mark < SLOWEST * web.PATIENCE:
                    raise Failure(
                        f"the server sends {self.shown} too slowly, {got} bytes so far", passes=True
                    )
                since, mark = now, got
        return got

    def _settle(self, got: int) -> None:
        """Give the file its name, if it is what was wanted."""
        if self.remote.size is not None and got != self.remote.size:
            raise Failure(f"{self.shown} has {got} bytes and its item says {self.remote.size}")
        if self.remote.checksum and not agrees(self.part, self.remote.checksum):
            raise Failure(
                f"{self.shown} does not have the checksum that its item states; fetch the item again"
            )
        # the only place where a file gets its name
        os.replace(self.part, self.remote.target)
        os.replace(self.begun, self.whole)

    def _state(self) -> State | None:
        """What was said of the part that is here; None where there is none that can go on."""
        state, size = self._said(self.begun), self.part.stat().st_size if self.part.is_file() else 0
        if state is None or not state.validator or not 0 < size < (state.total or LARGEST):
            return None
        return state

    def _unless(self) -> str:
        """The validator of the whole file in the cache; nothing where there is none."""
        state, target = self._said(self.whole), self.remote.target
        whole = state is not None and target.is_file() and target.stat().st_size == (state.total or -1)
        return state.validator if whole and state is not None else ""

    def _said(self, path: Path) -> State | None:
        """What is written down of this address; of another one under the same name nothing counts."""
        with suppress(OSError, ValueError, TypeError):
            state = State(**json.loads(path.read_text(encoding="utf-8")))
            return state if state.digest == self.digest else None
        return None

    def _drop(self) -> None:
        for path in (self.part, self.begun):
            path.unlink(missing_ok=True)


def _digest(link: str) -> str:
    return hashlib.sha256(links.identity(link).encode()).hexdigest()[:16]


def _address(link: str) -> str:
    return s3.address(link) if link.startswith("s3://") else link


def _persist(attempt: Callable[[], Given]) -> Given:
    """What an attempt gives, or one of the next where it fails for what may pass; SceneError where none does."""
    for number in range(1, TRIES + 1):
        try:
            return attempt()
        except Failure as error:
            if not error.passes:
                raise SceneError(str(error)) from None
            if number == TRIES:
                raise SceneError(f"{error}, {TRIES} times") from None
            # as long as the server asks for, if that is more
            time.sleep(max(error.wait, PAUSE * 2 ** (number - 1)))
    raise AssertionError("no try at all")


def agrees(path: Path, checksum: str) -> bool:
    """Whether a file has a multihash, in hexadecimal; SceneError where it is of no kind that is known."""
    try:
        code, length, digest = _multihash(bytes.fromhex(checksum))
        hasher = hashlib.new(HASHES[code], usedforsecurity=False)
    except (ValueError, KeyError, IndexError) as error:
        raise SceneError(f"the checksum {checksum[:80]!r} is no multihash of a kind that is known") from error
    with path.open("rb") as file:
        # files are larger than memory
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return length == len(digest) and hasher.digest()[:length] == digest


def _multihash(raw: bytes) -> tuple[int, int, bytes]:
    """(code, length, digest): two numbers of 7 bits a byte, the lowest first, and what follows."""
    # how far the length reaches is only known when the code has been read
    numbers, at = [], 0
    for _ in range(2):
        number = shift = 0
        while True:
            byte = raw[at]
            number |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not byte & 0x80:
                break
        numbers.append(number)
    return numbers[0], numbers[1], raw[at:]


def _write(path: Path, state: State) -> None:
    path.write_text(json.dumps(asdict(state)), encoding="utf-8")
