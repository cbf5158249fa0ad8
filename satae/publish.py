"""Outputs that are complete or absent: written in a hidden folder beside the target, verified, renamed.

A killed process leaves the target as it was. Two processes cannot publish to one target at once.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from satae import interrupts
from satae.errors import OutputError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

RETIRED = "retired"  # in a staging folder, what stood where outputs are being put
LAST = "last"  # what was moved last, by which the next run knows whether all was
REPLACED = "replaced"  # its name once all of them are in place, when nothing of it is wanted back
SIDE_FILES = ("-journal", "-wal", "-shm")
# bytes of a name: what file systems take, less what locks and drafts add to it
LONGEST = 255 - len("..plain.lock")
SPARE = 256  # files that a run may have open besides its locks
MOMENT = 1.0  # seconds after which a journal is not that of a decision just being stored


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
    if target.is_symlink():
        # replacing the link would leave the file that it leads to, with its decisions, behind; so would others' links
        raise OutputError(
            f"{target} is a link to {os.readlink(target)}; name that file itself, or remove the link"
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
        if _stays(target, side):
            raise OutputError(
                f"{target} is open in another program or was left half written ({target.name}{side} exists); "
                "close QGIS, or open the file once to let it recover, then run again"
            )


def _stays(target: Path, side: str) -> bool:
    """Whether a side file is there for longer than a transaction takes, and is not what a killed program left."""
    path, end = Path(f"{target}{side}"), time.monotonic() + MOMENT
    while path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    if path.exists() and target.is_file():
        with suppress(sqlite3.Error), closing(sqlite3.connect(target, isolation_level=None)) as database:
            # plays back what was not finished; a log is put away unless somebody else has the file open
            database.execute("PRAGMA journal_mode = DELETE").fetchall()
            database.execute("BEGIN IMMEDIATE")
            remove_cold_journal(target)
    return path.exists()


def remove_cold_journal(target: Path) -> None:
    """Remove the journal of a transaction in which nothing was written; to be called with the database's write lock.

    With that lock SQLite has played back a journal that matters. Others it leaves to the next writer.
    """
    Path(f"{target}-journal").unlink(missing_ok=True)


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
    with interrupts.tidying():
        try:
            with interrupts.shield():
                lock.acquire()
            interrupts.check()
            # whoever holds the lock knows that what lies here is of nobody alive
            sweep(target)
            yield
        except Timeout as error:
            raise OutputError(
                f"another satae is writing {target}; wait for it to end, or choose another name"
            ) from error
        except OSError as error:
            if lock.is_locked:
                raise
            raise OutputError(f"{target} cannot be written: {error.strerror}") from error
        finally:
            with interrupts.shield():
                if lock.is_locked:
                    # an interrupt between the making of a staging folder and the block that removes it leaves one
                    sweep(target)
                    # FileLock notices an unlinked file, so removing it while held is safe
                    with suppress(OSError):
                        os.unlink(lock.lock_file)
                    lock.release()


@contextmanager
def locks(targets: Iterable[Path]) -> Iterator[None]:
    """Hold the right to publish to each of `targets`, as `lock` does: all of them or none."""
    wanted = list(targets)
    _allow_files(len(wanted))
    with ExitStack() as held:
        for target in wanted:
            held.enter_context(lock(target))
        yield


def _allow_files(number: int) -> None:
    """A lock is an open file, of which some systems let a process have 256 until it asks for more."""
    if resource is None:
        return
    with suppress(ValueError, OSError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < number + SPARE:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(number + SPARE, hard), hard))


def sweep(target: Path) -> None:
    """Remove what killed runs have left of `target` in its folder; to be called while it is locked.

    What a run had stepped aside when it was killed, before all of its outputs were in place, is put back.
    """
    for stale in target.absolute().parent.glob(f"{_prefix(target)}*"):
        _clear(stale)


def _clear(folder: Path) -> None:
    """Remove a staging folder; older outputs in it belong beside it, for not all of the new ones came to be there."""
    if (folder / RETIRED).is_dir() and not _was_last_moved(folder):
        _put_back(folder / RETIRED)
    shutil.rmtree(folder, ignore_errors=True)


def _was_last_moved(folder: Path) -> bool:
    """Whether a killed run had put its last output in place: others may have written to that since.

    An older result that came back then would take the place of one with newer decisions in it.
    """
    try:
        number, name = (folder / LAST).read_text(encoding="utf-8").split(" ", 1)
        return (folder.parent / name).lstat().st_ino == int(number)
    except (OSError, ValueError):
        return False


def _prefix(target: Path) -> str:
    """How staging folders of a target begin: its name may be as long as the file system allows."""
    return f".satae-{zlib.crc32(os.fsencode(target.name)):08x}-"


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A fresh folder on the target's file system, removed at the end whatever happens."""
    with interrupts.tidying():
        yield from _staging(target)


def _staging(target: Path) -> Iterator[Path]:
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
        with interrupts.shield():
            _clear(folder)


def publish(source: Path, target: Path) -> None:
    """Move a finished file or folder from a staging folder to its final name, on disk before this returns."""
    publish_all([(source, target)])


def publish_all(moves: Sequence[tuple[Path, Path]], gone: Sequence[Path] = ()) -> None:
    """Move finished files and folders to their final names, in order, and take away those of `gone`: all or nothing.

    The last draft lies in a staging folder, and all targets lie beside that. Raises OutputError, and puts all older
    ones back, where one cannot be moved or the disk does not take it; so does the next `sweep` where the process was
    killed in between. A file is replaced in one step, a folder in two. An interrupt comes before it, or after all that
    is put in place with it.
    """
    interrupts.check_at_first()
    with interrupts.shield():
        _move_all(moves, gone)
        interrupts.note_place()


def _move_all(moves: Sequence[tuple[Path, Path]], gone: Sequence[Path]) -> None:
    draft, target = moves[-1]
    aside, done = draft.parent / RETIRED, draft.parent / REPLACED
    fresh: list[Path] = []
    try:
        for draft, target in moves:  # noqa: B007  (a failure is told of the target)
            # on disk before the rename: after a power cut a name must not lead to an empty file
            sync(draft)
        (aside.parent / LAST).write_text(f"{draft.lstat().st_ino} {target.name}", encoding="utf-8")
        aside.mkdir()
        for number, (draft, target) in enumerate(moves, 1):
            if number == len(moves):
                for older in gone:
                    os.rename(older, aside / older.name)
            if not os.path.lexists(target):
                fresh.append(target)
            else:
                _keep(target, aside / target.name)
            os.replace(draft, target)
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


def sync(path: Path) -> None:
    """Put a file, or a folder and all that is in it, on disk."""
    if path.is_dir():
        for child in path.iterdir():
            sync(child)
    _sync_file(path)


def _sync_file(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
