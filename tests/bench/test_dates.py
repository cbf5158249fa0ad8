"""`satae bench dates`: what a mask says changed, by two dates and by many."""

import json

import numpy as np
import places
import pytest
import rasterio
from scenes import UTM
from typer.testing import CliRunner

from satae.cli import app


def place(folder, count):
    """Dates of which the last has a step, and its mask; the year and gains of the last date differ for all."""
    when = places.days(count)
    dn = places.cube(when, side=40, noise=15.0)
    dn[-1] = dn[-1] * 1.1 + 80
    dn[-1, :, 10:20, 12:24] += np.array([90, 90, -120])[:, None, None]
    paths = places.write(folder / "d", when, dn)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 12:24] = 1
    with rasterio.open(
        folder / "mask.tif", "w", driver="GTiff", height=40, width=40, count=1, dtype="uint8", crs="EPSG:32632",
        transform=UTM,
    ) as file:  # fmt: skip
        file.write(mask, 1)
    return paths


@pytest.mark.parametrize(("count", "model"), [(2, "pair"), (40, "seasonal")])
def test_a_masked_change_is_measured_by_every_method(tmp_path, count, model):
    place(tmp_path, count)
    words = ["-q", "bench", "dates", str(tmp_path / "d"), "--truth", str(tmp_path / "mask.tif"), "--json"]
    done = CliRunner().invoke(app.app, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["model"], said["changed"], said["dates_before"]) == (model, 120, count - 1)
    of = said["methods"]
    assert set(of) == {"satae", "CVA", "IR-MAD"}
    assert of["satae"]["auroc"] > 0.95 and of["IR-MAD"]["auroc"] > 0.9
    assert all(0 < m["ap"] <= 1 for m in of.values())
    assert "AUROC" in (tmp_path / "out" / "table.txt").read_text()


def test_one_date_and_a_mask_elsewhere_are_refused(tmp_path):
    paths = place(tmp_path, 2)
    words = ["bench", "dates", "--out", str(tmp_path / "out"), "--truth"]
    one = CliRunner().invoke(app.app, [*words, str(tmp_path / "mask.tif"), str(paths[0])])
    with rasterio.open(
        tmp_path / "small.tif", "w", driver="GTiff", height=4, width=4, count=1, dtype="uint8", transform=UTM
    ) as file:
        file.write(np.ones((4, 4), np.uint8), 1)
    small = CliRunner().invoke(app.app, [*words, str(tmp_path / "small.tif"), *map(str, paths)])
    for done, text in ((one, "one before it"), (small, "is not on the grid")):
        assert done.exit_code != 0
        assert text in done.output + str(done.exception)
