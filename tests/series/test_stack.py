"""Scenes of one place on one grid."""

from datetime import date

import numpy as np
import places
import pytest
from affine import Affine
from scenes import UTM

from satae.errors import SceneError
from satae.grid import Window
from satae.scene.describe import describe
from satae.series import stack as stacks

DAYS = [date(2020, 1, 1), date(2020, 2, 1), date(2020, 3, 1)]


def numbered(side=16, first=1):
    """Images whose pixels tell their place: (band, row, col)."""
    row, col = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    return np.stack([first + row, first + col, np.full((side, side), first)])


def scenes(folder, images, transforms, names=("S_{:%Y%m%d}.tif",)):
    found = []
    for moment, image, transform in zip(DAYS, images, transforms, strict=False):
        found += places.write(folder, [moment], image[None], transform=transform, name=names[0])
    return [describe([p]) for p in found]


def read(stack, window=None):
    with stack.open() as reader:
        return reader.read(window or stack.grid.window)


def test_grids_that_are_whole_pixels_apart_are_aligned(tmp_path):
    moved = UTM @ Affine.translation(3, 5)  # 3 columns, 5 rows
    stack = stacks.stack(scenes(tmp_path, [numbered(), numbered()], [UTM, moved]), [0, 1])
    assert (stack.grid.height, stack.grid.width) == (21, 19)
    cube, valid = read(stack)
    assert valid[0, :16, :16].all() and valid[0].sum() == 256
    assert valid[1, 5:, 3:].all() and valid[1].sum() == 256
    np.testing.assert_array_equal(cube[1, :, 5:, 3:], numbered())
    part, good = read(stack, Window(4, 2, 3, 3))
    np.testing.assert_array_equal(part, cube[:, :, 4:7, 2:5])
    np.testing.assert_array_equal(good, valid[:, 4:7, 2:5])


def test_coarser_pixels_are_repeated(tmp_path):
    coarse = UTM @ Affine.translation(-2, 4) @ Affine.scale(3)
    stack = stacks.stack(scenes(tmp_path, [numbered(24), numbered(8)], [UTM, coarse]), [0, 1])
    cube, valid = read(stack)
    dates = stack.dates
    assert (dates[1].row - dates[0].row, dates[1].col - dates[0].col, dates[1].factor) == (4, -2, 3)
    whole = numbered(8).repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(cube[1, :, 4:28, :24][:, :, : whole.shape[2]], whole)
    assert valid[1].sum() == 24 * 24
    for window in (Window(5, 1, 7, 8), Window(0, 0, 6, 5), Window(9, 9, 2, 2)):
        part, _ = read(stack, window)
        np.testing.assert_array_equal(part, cube[:, :, *window.slices(stack.grid.window)])


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (UTM @ Affine.translation(0.5, 0), "do not nest"),
        (UTM @ Affine.scale(1.5), "do not nest"),
        (UTM @ Affine.rotation(10), "do not nest"),
    ],
)
def test_other_grids_are_refused_with_both(tmp_path, other, word):
    found = scenes(tmp_path, [numbered(), numbered()], [UTM, other])
    with pytest.raises(SceneError, match=word) as error:
        stacks.stack(found, [0, 1])
    assert all(str(s.path) in str(error.value) for s in found)
    assert "500000" in str(error.value)


def test_another_crs_and_other_bands_are_refused(tmp_path):
    one = describe(places.write(tmp_path, DAYS[:1], numbered()[None]))
    two = describe(places.write(tmp_path, DAYS[1:2], numbered()[None], crs="EPSG:32633"))
    three = describe(places.write(tmp_path, DAYS[2:], numbered()[None, :2]))
    with pytest.raises(SceneError, match="different CRSs"):
        stacks.stack([one, two], [0, 1])
    with pytest.raises(SceneError, match="--bands"):
        stacks.stack([one, three], [0, 1])
    with pytest.raises(SceneError, match="twice"):
        stacks.stack([one, one], [0, 0])


def test_the_order_of_names_is_of_no_account(tmp_path):
    found = scenes(tmp_path, [numbered(first=k) for k in (1, 2, 3)], [UTM] * 3)
    forward, backward = stacks.stack(found, [0, 31, 60]), stacks.stack(found[::-1], [60, 31, 0])
    assert forward == backward


def test_windows_cover_the_grid_once(tmp_path, monkeypatch):
    monkeypatch.setattr(stacks, "READ_BYTES", 3000)
    stack = stacks.stack(scenes(tmp_path, [numbered(50)] * 2, [UTM] * 2), [0, 1])
    seen = np.zeros((50, 50), int)
    for window in stack.windows():
        seen[window.slices(stack.grid.window)] += 1
    assert (seen == 1).all()


def test_what_is_around_a_cloud_does_not_count_and_fill_has_nothing_to_spread():
    valid = np.ones((4, 20, 20), bool)
    valid[:, :, :4] = False  # fill on all dates
    valid[1, 10:12, 10:12] = False  # a cloud
    valid[2, 5, 12] = False  # a speck
    clear = stacks.ground(valid)
    out = stacks.without_clouds(valid, clear, 2)
    assert out.shape == (4, 14, 14)
    inner = valid[:, 3:-3, 3:-3].copy()
    inner[1, 5:11, 5:11] = False  # 8 to 13, less the margin
    np.testing.assert_array_equal(out, inner)


def test_scales_that_differ_are_applied(tmp_path):
    import rasterio

    paths = places.write(tmp_path, DAYS[:2], np.stack([numbered(), numbered()]))
    with rasterio.open(paths[1], "r+") as file:
        file.scales, file.offsets = (2.0,) * 3, (-1.0,) * 3
    cube, _ = read(stacks.stack([describe([p]) for p in paths], [0, 1]))
    np.testing.assert_allclose(cube[1], 2 * numbered() - 1)
    np.testing.assert_allclose(cube[0], numbered())


def test_two_scenes_of_one_day_and_name_are_refused(tmp_path):
    one, two = (scenes(tmp_path / name, [numbered()], [UTM])[0] for name in "ab")
    with pytest.raises(
        SceneError, match=r"a/S_20200101\.tif and .*b/S_20200101\.tif are both S_20200101 of 2020-01-01"
    ):
        stacks.stack([one, two], [18262, 18262])
    assert len(stacks.stack([one, two], [18262, 18263]).dates) == 2


def test_what_does_not_touch_a_settled_grid_is_refused(tmp_path):
    grid = scenes(tmp_path / "here", [numbered()], [UTM])[0].grid
    for name, cols, rows, touches in [
        ("at", 15, -15, True),
        ("right", 16, 0, False),
        ("above", 0, -16, False),
    ]:
        there = scenes(tmp_path / name, [numbered()], [UTM @ Affine.translation(cols, rows)])
        if touches:
            assert stacks.on_grid(grid, there, [0]).dates[0].col == 15
        else:
            with pytest.raises(SceneError, match="lies beside the place of the state"):
                stacks.on_grid(grid, there, [0])
