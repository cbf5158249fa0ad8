"""Where things lie in the folder of a run, and folders that take their place by a rename or vanish.

Nothing here locks: several machines may work in one folder on a network file system.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from satae import interrupts
from satae.errors import OutputError
from satae.publish import sync

SCENES, PARTS, BLOCKS = "scenes", ".parts", ".blocks"
# seconds without a sign of life after which a part is nobody's, wherever it was begun
STALE = 600.0
# seconds between signs of life
TOUCH = 10.0

# the parts that this process is writing, for whoever must remove them when it cannot
_current: list[Path] = []


def host() -> str:
    """This machine's name, as part of a file name."""
    return socket.gethostname().replace("/", "_").replace(".", "_") or "host"


def make(out: Path) -> None:
    """Make the folder of a run and those in it; OutputError where that cannot be."""
    try:
        for folder in (out, out / SCENES, out / PARTS):
            folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise OutputError(f"{out} cannot be made: there is no folder {out.parent}; make it first") from None
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}; choose another --out") from error


def folder_of(out: Path, name: str, key: str) -> Path:
    """Where the finished folder of a scene lies."""
    return out / SCENES / f"{name}-{key}"


def blocks_of(out: Path, key: str) -> Path:
    """Where the blocks of a scene that is split lie until it is finished."""
    return out / BLOCKS / key


def forget(out: Path, key: str) -> None:
    """Remove the blocks of a scene: first their name, for nobody may find but some of them."""
    target = out / PARTS / f"{key}-blocks.{host()}.{os.getpid()}"
    with contextlib.suppress(OSError):
        os.rename(blocks_of(out, key), target)
        shutil.rmtree(target, ignore_errors=True)


def strangers(out: Path) -> list[str]:
    """The keys of blocks that nobody has added to for long: of runs that were not ended, if they are in no plan."""
    there = out / BLOCKS
    now = _now(out) if there.is_dir() else 0.0
    return [p.name for p in _entries(there) if now - _changed(p, now) > STALE]


@contextmanager
def part(out: Path, key: str) -> Iterator[Path]:
    """A fresh folder in which a scene is scored; gone at the end, unless `settle` gave it its place."""
    folder = out / PARTS / f"{key}.{host()}.{os.getpid()}"
    with interrupts.tidying():
        # a process has one part at a time, so what goes by its number is its own
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _current.append(folder)
            with _signs_of_life(folder):
                yield folder
        except OSError as error:
            if error.filename is not None and not str(error.filename).startswith(str(folder)):
                # an error of a file elsewhere, such as the scene, is not about this output
                raise
            raise OutputError(f"{folder} could not be written: {error.strerror or error}") from error
        finally:
            with interrupts.shield():
                shutil.rmtree(folder, ignore_errors=True)
                if folder in _current:
                    _current.remove(folder)


def settle(folder: Path, place: Path) -> None:
    """Give a finished folder its place; where another process was first its folder stays, for it holds the same."""
    # on disk before the rename: after a power cut a name must not lead to empty files
    sync(folder)
    interrupts.check()
    with interrupts.shield():
        # a folder that is not empty is never replaced by a rename, on any system: the first one stays
        try:
            os.rename(folder, place)
        except OSError:
            if not place.is_dir():
                raise
        else:
            with contextlib.suppress(OSError):
                sync_name(place.parent)


def sync_name(folder: Path) -> None:
    """Put the names in a folder on disk; Windows cannot open a folder."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _signs_of_life(folder: Path) -> Iterator[None]:
    """Show, as long as the block takes, that a part is somebody's."""
    over = threading.Event()

    def touch() -> None:
        while not over.wait(TOUCH):
            with contextlib.suppress(OSError):
                os.utime(folder)

    touching = threading.Thread(target=touch, name="satae sign of life", daemon=True)
    touching.start()
    try:
        yield
    finally:
        over.set()
        touching.join()


def drop() -> None:
    """Remove the parts of this process, which is about to end without tidying up."""
    for folder in list(_current):
        shutil.rmtree(folder, ignore_errors=True)


def sweep(out: Path, *, dead: int | None = None) -> None:
    """Remove parts that nobody writes any more: of the process `dead`, or of all that are known to be gone.

    A process of this machine is asked for; one of another gave no sign for so long, by the clock of the file system.
    """
    there = out / PARTS
    # names end in the machine and the number of the process
    ours = [p for p in _entries(there) if p.name.split(".")[1:2] == [host()]]
    if dead is not None:
        gone = [p for p in ours if p.name.endswith(f".{dead}")]
    else:
        # a number may be taken again, by a process that has nothing to do with it: then the time tells
        now = _now(there)
        gone = [p for p in ours if not _alive(p)]
        gone += [p for p in _entries(there) if p not in gone and now - _changed(p, now) > STALE]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)


def tidy(out: Path, *, whole: bool = False) -> None:
    """Remove the folders of parts and blocks where there are none, and the `whole` folder of a run that has nothing.

    Whoever begins a part makes its folder again.
    """
    for name in (PARTS, BLOCKS, *((SCENES, "") if whole else ())):
        with contextlib.suppress(OSError):
            (out / name).rmdir()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _alive(folder: Path) -> bool:
    number = folder.name.rpartition(".")[2]
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError):
        return False
    # of somebody else
    except OSError:
        return True
    # one that is dead and was never asked for how it ended: in a container nobody may do that
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return True


def _changed(folder: Path, now: float) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return now


def _now(folder: Path) -> float:
    """The time as the file system has it, for clocks of machines differ."""
    # written to it, and its time read: machines in a cluster differ by minutes
    probe = folder / f".clock.{host()}.{os.getpid()}"
    try:
        probe.touch()
        moment = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        return time.time()
    return moment
