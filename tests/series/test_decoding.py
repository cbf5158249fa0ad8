"""Dates in a format that is slow to decode: each of their blocks is decoded once, and nothing else differs."""

from collections import defaultdict
from datetime import timedelta

import deliveries
import numpy as np
import places
import rasterio

from satae.scene.describe import describe
from satae.scene.scene import SceneReader
from satae.series import dates, run
from satae.series import stack as stacks

WHEN = [places.START + timedelta(days=160 * i) for i in range(6)]
BANDS = "B02_10", "B03_10", "B04_10"
SIDE = 160


def written(folder):
    found = []
    for day, image in zip(WHEN, np.rint(places.cube(WHEN, side=SIDE)).astype(np.uint16), strict=True):
        image[:, 60:70, 60:70] += np.uint16(900 if day > WHEN[3] else 0)
        images = dict(zip(BANDS, image, strict=True))
        classes = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
        found.append(deliveries.sentinel2(folder, images, classes=classes, day=f"{day:%Y%m%d}"))
    return found


def result(paths, out):
    scenes = [describe([p], warn=False) for p in paths]
    options = run.Options(history=(-np.inf, dates.day_of(scenes[3])), overwrite=True)
    run.series(scenes, [dates.day_of(s) for s in scenes], out, options)
    with rasterio.open(out.with_name(f"{out.stem}_heatmap.tif")) as file:
        return file.read()


def counted(monkeypatch):
    """How often each pixel of each scene was decoded."""
    times, own = defaultdict(lambda: np.zeros((SIDE, SIDE), int)), SceneReader._inside

    def counting(reader, window):
        times[reader.scene.name][window.slices(reader.scene.grid.window)] += 1
        return own(reader, window)

    monkeypatch.setattr(SceneReader, "_inside", counting)
    return times


def test_each_block_of_a_slow_date_is_decoded_once(tmp_path, monkeypatch):
    paths = written(tmp_path / "dates")
    monkeypatch.setattr(stacks, "READ_BYTES", 2**18)  # many windows
    times = counted(monkeypatch)
    once = result(paths, tmp_path / "a.gpkg")
    assert len(times) == len(WHEN)
    assert {int(t.max()) for t in times.values()} == {1}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    # without room on the disk they are decoded again and again, to the same end
    monkeypatch.setattr(stacks, "KEPT", 0.0)
    times.clear()
    np.testing.assert_array_equal(result(paths, tmp_path / "b.gpkg"), once)
    assert max(int(t.max()) for t in times.values()) > 3
