"""The n-th write, sync, rename, new file or read of a command fails, as a full or dying disk makes it fail."""

from __future__ import annotations

import builtins
import errno
import io
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import rasterio
from commands import typed
from rasterio.errors import RasterioIOError

Fault = Callable[[], BaseException]


def dying() -> OSError:
    """What a broken disk says."""
    return OSError(errno.EIO, os.strerror(errno.EIO))


def unread() -> RasterioIOError:
    """What GDAL says of a broken disk."""
    return RasterioIOError("Read error at row 0, col 0")


def death() -> BaseException:
    """Nobody hears of it: the process is gone, as after `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


class Nth:
    """Counts calls, of which the one with the number `number` (from 1) fails."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.number, self.fault, self.calls = number, fault, 0

    @property
    def struck(self) -> bool:
        return self.calls >= self.number

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.number:
            raise self.fault()

    def before(
        self, function: Callable[..., Any], when: Callable[..., bool] = lambda *_: True
    ) -> Callable[..., Any]:
        """The function, of which a call counts where `when` holds of its arguments."""

        def counted(*words: Any, **named: Any) -> Any:
            if when(*words, *named.values()):
                self()
            return function(*words, **named)

        return counted


def _makes(path: object, mode: object = "r", *_: object) -> bool:
    """Whether open(path, mode) makes a file or may write to one."""
    return not isinstance(path, int) and isinstance(mode, str) and bool(set(mode) & set("wax+"))


def _sync(patch: pytest.MonkeyPatch, nth: Nth) -> None:
    patch.setattr(os, "fsync", nth.before(os.fsync))


def _rename(patch: pytest.MonkeyPatch, nth: Nth) -> None:
    for name in ("rename", "replace", "link"):
        patch.setattr(os, name, nth.before(getattr(os, name)))


def _create(patch: pytest.MonkeyPatch, nth: Nth) -> None:
    opened = nth.before(builtins.open, _makes)
    patch.setattr(builtins, "open", opened)
    patch.setattr(io, "open", opened)
    patch.setattr(os, "mkdir", nth.before(os.mkdir))


class Dataset:
    """A dataset of rasterio that counts its reads."""

    def __init__(self, dataset: Any, nth: Nth) -> None:
        self.dataset = dataset
        self.read, self.read_masks = nth.before(dataset.read), nth.before(dataset.read_masks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.dataset.close()


def _read(patch: pytest.MonkeyPatch, nth: Nth) -> None:
    opened = rasterio.open

    def open_counted(path: Path, mode: str = "r", **how: Any) -> Any:
        dataset = opened(path, mode, **how)
        return Dataset(dataset, nth) if mode == "r" else dataset

    patch.setattr(rasterio, "open", open_counted)


WAYS = {"sync": _sync, "rename": _rename, "create": _create, "read": _read}


@contextmanager
def striking(way: str, number: int, fault: Fault = dying) -> Iterator[Nth]:
    """Within, call `number` of a way fails."""
    nth = Nth(number, fault)
    with pytest.MonkeyPatch.context() as patch:
        WAYS[way](patch, nth)
        yield nth


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Within, no file grows beyond `size` bytes: writes of C libraries fail too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def killed(way: str, number: int, *words: object) -> bool:
    """Whether a process of its own that ran a command was killed at call `number` of a way, before the end."""
    # not forked from here: torch has threads, and what one of them holds is held in the child for ever
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["satae.scoring.run", "satae.tiles.cut", "satae.cli.score", "pyogrio", "cv2", "commands"]
    )
    child = processes.Process(target=_work, args=(way, number, words))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def _work(way: str, number: int, words: Sequence[object]) -> None:
    with striking(way, number, death):
        assert typed(*words).exit_code == 0


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
