"""Outputs that are complete or absent: written in a hidden folder beside the target, verified, renamed.

A killed process leaves the target as it was. Two processes cannot publish to one target at once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from satae.errors import OutputError

RETIRED = "retired"  # in a staging folder, what stood where outputs are being put
REPLACED = "replaced"  # its name once all of them are in place, when nothing of it is wanted back
SIDE_FILES = ("-journal", "-wal", "-shm")


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that cannot be written, before any work is done.

    Raises OutputError where the target exists and `overwrite` is off, where its folder is missing or not
    writable, or where SQLite side files of an open or crashed database lie beside it: a new database under
    that name would be unreadable.
    """
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

    What a run had stepped aside when it was killed, before all of its outputs were in place, is put back.
    """
    for stale in target.absolute().parent.glob(f"{_prefix(target)}*"):
        _clear(stale)


def _clear(folder: Path) -> None:
    """Remove a staging folder; older outputs in it belong beside it, for not all of the new ones came to be there."""
    if (folder / RETIRED).is_dir():
        _put_back(folder / RETIRED)
    shutil.rmtree(folder, ignore_errors=True)


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
        _clear(folder)


def publish(source: Path, target: Path) -> None:
    """Move a finished file or folder from a staging folder to its final name, on disk before this returns."""
    publish_all([(source, target)])


def publish_all(moves: Sequence[tuple[Path, Path]], gone: Sequence[Path] = ()) -> None:
    """Move finished files and folders to their final names, in order, and take away those of `gone`: all or nothing.

    The last draft lies in a staging folder, and all targets lie beside that. Raises OutputError, and puts all older
    ones back, where one cannot be moved or the disk does not take it; so does the next `sweep` where the process was
    killed in between. A file is replaced in one step, a folder in two.
    """
    draft, target = moves[-1]
    aside, done = draft.parent / RETIRED, draft.parent / REPLACED
    fresh: list[Path] = []
    try:
        for draft, target in moves:  # noqa: B007  (a failure is told of the target)
            # on disk before the rename: after a power cut a name must not lead to an empty file
            _sync(draft)
        aside.mkdir()
        for draft, target in moves:
            if not os.path.lexists(target):
                fresh.append(target)
            else:
                _keep(target, aside / target.name)
            os.replace(draft, target)
        for target in gone:
            os.rename(target, aside / target.name)
        target = moves[-1][1]
        # the renames themselves are entries of the folder
        _sync_file(target.absolute().parent)
        os.rename(aside, done)
    except BaseException as error:
        for made in fresh:
            _remove(made)
        _put_back(aside)
        if not isinstance(error, OSError):
            raise
        raise OutputError(f"{target} could not be written: {error.strerror or error}") from error
    with suppress(OSError):
        _sync_file(done.parent)
    shutil.rmtree(done, ignore_errors=True)


def _keep(target: Path, older: Path) -> None:
    """A second name for what is to be replaced: a folder steps aside, a file stays where it is."""
    if target.is_dir() and not target.is_symlink():
        os.rename(target, older)
        return
    try:
        os.link(target, older, follow_symlinks=False)
    except OSError:  # a file system without links
        os.rename(target, older)


def _put_back(aside: Path) -> None:
    """Put what stepped aside in its place again; where one cannot be, the others are."""
    with suppress(OSError):
        for older in list(aside.iterdir()):
            target = aside.parent.parent / older.name
            if older.is_dir() and not older.is_symlink():
                _remove(target)
            with suppress(OSError):
                os.replace(older, target)


def _remove(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target, ignore_errors=True)
    else:
        with suppress(OSError):
            target.unlink()


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
