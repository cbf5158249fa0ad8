"""Tile sets are read through memory maps: what is learned from may be larger than memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import make_tiles

from satae import config, heap
from satae.errors import TilesError
from satae.tiles import store
from satae.training import feed, loop

SIDE, BANDS, ACROSS = 64, 16, 32
MB = 1 << 20


def written(folder: Path, rows: int) -> Path:
    """A tile set of so many rows of tiles, each one the first one shifted, that was never held as a whole."""
    dn = np.random.default_rng(0).integers(1, 4000, (BANDS, SIDE, SIDE)).astype(np.uint16)
    one, count = make_tiles(dn, size=SIDE), rows * ACROSS
    size = {"height": rows * SIDE, "width": ACROSS * SIDE, "tiles": count, "valid_pixels": count * SIDE**2}
    folder.mkdir()
    (folder / "tileset.json").write_text(one.record.model_copy(update=size).model_dump_json())
    np.save(folder / "index.npy", [(r * SIDE, c * SIDE) for r in range(rows) for c in range(ACROSS)])
    for name, array in (("tiles", one.images), ("valid", one.valid)):
        shape = (count, *array.shape[1:])
        file = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", array.dtype, shape)
        for i in range(count):
            file[i] = np.roll(array[0], i, axis=-1)
    return folder


def own() -> int:
    """Bytes of this process that are no pages of files: what swapping alone could make room for."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_epoch_over_a_set_holds_no_more_of_it_than_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # bounds of what is drawn from a set once, which are no part of what follows its size
    monkeypatch.setattr(feed, "SAMPLE_BYTES", 4 * MB)
    monkeypatch.setattr(feed, "LOOKED_PIXELS", 1 << 18)
    recipe = config.load(
        None,
        [
            "model.name=conv",
            "model.params={width: 1}",
            "input.components=2",
            "train.epochs=1",
            "train.batch=8",
        ],
    )

    def growth(folder: Path, run: Path) -> tuple[int, int]:
        """Bytes more at the most, looked for at each step, and tiles that were learned from."""
        run.mkdir()
        heap.trim()
        before, held = own(), [0]
        tiles = [store.load(folder)]
        planned = loop.plan(tiles, recipe)
        cpu = torch.device("cpu")
        loop.fit(tiles, planned, run, device=cpu, report=lambda *told: held.append(own() - before))
        return max(held), len(planned.split.train)

    # what libraries take when they are first used
    growth(written(tmp_path / "small", 1), tmp_path / "once")
    more, learned = growth(folder := written(tmp_path / "large", 32), tmp_path / "run")
    large = store.load(folder)
    assert large.images.nbytes == 128 * MB and learned > 0.75 * len(large)
    assert more < 64 * MB  # with arrays in memory it is more than the set
    # and the same look sees a set that is held
    before = own()
    whole = np.array(large.images)
    assert own() - before > 120 * MB and whole.any()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_more_sets_are_open_at_once_than_a_system_lets_a_process_begin_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    one = make_tiles(np.full((1, 4, 4), 7, np.uint16), size=4)
    names = [tmp_path / f"scene{i}" for i in range(200)]
    for path in names:
        path.mkdir()
        (path / "tileset.json").write_text(
            one.record.model_copy(update={"sha256": path.name}).model_dump_json()
        )
        for name, array in (("tiles", one.images), ("valid", one.valid), ("index", one.index)):
            np.save(path / f"{name}.npy", array)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        sets = store.load_all([tmp_path])
        assert sum(int(s.images[0, 0, 0, 0]) for s in sets) == 200 * 7
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, 400))
    with pytest.raises(
        TilesError, match=r"200 tile sets .* allows 400 \(ulimit -Hn\); name at most 72 of them"
    ):
        store.load_all([tmp_path])
