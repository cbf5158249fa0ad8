"""Outputs that are complete or absent: written in a hidden folder beside the target, verified, renamed.

A killed process leaves the target as it was. Two processes cannot publish to one target at once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from satae.errors import OutputError

RETIRED = ".old"  # added to the name of a folder while another takes its place
SIDE_FILES = ("-journal", "-wal", "-shm")
LONGEST = 255 - len(
    "..plain.lock"
)  # bytes of a name: what file systems take, less what locks and drafts add to it


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that cannot be written, before any work is done.

    Raises OutputError where the target exists and `overwrite` is off, where its folder is missing or not
    writable, or where SQLite side files of an open or crashed database lie beside it: a new database under
    that name would be unreadable.
    """
    if (size := len(os.fsencode(target.name))) > LONGEST:
        raise OutputError(
            f"{target} has a name of {size} bytes, {size - LONGEST} too many; choose a shorter one"
        )
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; pass --overwrite to replace it, or choose another name")
    if target.is_dir():
        _check_replaceable_folder(target)
    folder = target.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"{target} cannot be written: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{target} cannot be written: the folder {folder} is read-only")
    for side in SIDE_FILES:
        if Path(f"{target}{side}").exists():
            raise OutputError(
                f"{target} is open in another program or was left half written ({target.name}{side} exists); "
                "close QGIS, or open the file once to let it recover, then run again"
            )


def _check_replaceable_folder(target: Path) -> None:
    """Only a folder that satae wrote, or an empty one, is ever replaced."""
    names = {p.name for p in target.iterdir()}
    if names and not names & {"tileset.json", "config.yaml"}:
        raise OutputError(f"{target} is a folder that satae did not write; choose another name")


@contextmanager
def lock(target: Path) -> Iterator[None]:
    """Hold the right to publish to `target`; OutputError where another process holds it."""
    # beside the target, for folders of results lie on all kinds of file systems; no waiting, for a run takes hours
    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"another satae is writing {target}; wait for it to end") from error
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error
    try:
        # whoever holds the lock knows that what lies here is of nobody alive
        sweep(target)
        yield
    finally:
        # an interrupt between the making of a staging folder and the block that removes it leaves one
        sweep(target)
        with suppress(OSError):  # FileLock notices an unlinked file, so removing it while held is safe
            os.unlink(lock.lock_file)
        lock.release()


def sweep(target: Path) -> None:
    """Remove what killed runs have left of `target` in its folder; to be called while it is locked.

    A run that was killed between the two renames of a folder left the older one here: it is put back.
    """
    for stale in target.absolute().parent.glob(f"{_prefix(target)}*"):
        for retired in stale.glob(f"*{RETIRED}"):
            # killed between the two renames of `publish`: what was there before comes back
            if not target.exists():
                os.rename(retired, target)
        shutil.rmtree(stale, ignore_errors=True)


def _prefix(target: Path) -> str:
    """How staging folders of a target begin: its name may be as long as the file system allows."""
    return f".satae-{zlib.crc32(os.fsencode(target.name)):08x}-"


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A fresh folder on the target's file system, removed at the end whatever happens."""
    try:
        # beside the target, so that the last step is a rename and not a copy
        folder = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.absolute().parent))
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error
    try:
        yield folder
    except OSError as error:
        # an error of a file elsewhere is not about this output
        if error.filename is not None and not str(error.filename).startswith(str(folder)):
            raise
        raise OutputError(f"{target} could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(source: Path, target: Path) -> None:
    """Move a finished file or folder to its final name, on disk before this returns."""
    try:
        # on disk before the rename: after a power cut a name must not lead to an empty file
        _sync(source)
        if target.is_dir() and not target.is_symlink():
            # a folder cannot replace a full one in one step: the old one steps aside, and comes back where that fails
            retired = source.with_name(source.name + RETIRED)
            os.rename(target, retired)
            try:
                os.rename(source, target)
            except OSError:
                os.rename(retired, target)
                raise
            shutil.rmtree(retired, ignore_errors=True)
        else:
            os.replace(source, target)
        # the rename itself is an entry of the folder
        _sync_file(target.absolute().parent)
    except OSError as error:
        raise OutputError(f"{target} could not be written: {error.strerror or error}") from error


def write_bytes(target: Path, content: bytes) -> None:
    """Replace a small file in one step."""
    with staging(target) as folder:
        draft = folder / target.name
        draft.write_bytes(content)
        publish(draft, target)


def _sync(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _sync(child)
    _sync_file(path)


def _sync_file(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
