"""MATLAB scenes: what is read is what was saved, and what is no scene is refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.io

from satae.bench import matfile
from satae.errors import SceneError

CUBE = np.arange(9 * 11 * 3).reshape(9, 11, 3)
TRUTH = np.zeros((9, 11), np.uint8)
TRUTH[2:4, 5] = 1


def saved(folder: Path, **arrays: object) -> Path:
    scipy.io.savemat(folder / "a.mat", arrays)
    return folder / "a.mat"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", ">i2", "int64"])
def test_cube_comes_out_as_it_was_saved(tmp_path, dtype):
    cube, truth = matfile.read(saved(tmp_path, data=CUBE.astype(dtype), map=TRUTH))
    assert cube.dtype == np.dtype(dtype).newbyteorder("=")
    assert (cube == CUBE.astype(dtype).transpose(2, 0, 1)).all()
    assert truth.dtype == bool and (truth == (TRUTH > 0)).all()
    matfile.to_geotiff(cube, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.crs is None and (dataset.read() == cube).all()


def test_logical_cubes_become_bytes(tmp_path):
    cube, _ = matfile.read(saved(tmp_path, data=CUBE % 2 > 0, map=TRUTH))
    assert cube.dtype == np.uint8


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"data": CUBE}, "a.mat has no map; it must hold"),
        ({"cube": CUBE}, "has no data and no map"),
        ({"data": CUBE[..., 0], "map": TRUTH}, "data has the shape 9 x 11 and map 9 x 11"),
        ({"data": CUBE, "map": TRUTH.T}, "data has the shape 9 x 11 x 3 and map 11 x 9"),
        ({"data": CUBE * 1j, "map": TRUTH}, "data holds complex128, not numbers"),
        ({"data": CUBE, "map": np.array([[TRUTH, "x"]], object)}, "map holds object"),
        ({"data": {"a": 1}, "map": TRUTH}, "not numbers"),
    ],
)
def test_what_is_no_scene_is_refused(tmp_path, arrays, message):
    with pytest.raises(SceneError, match=message):
        matfile.read(saved(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM" + bytes(64), "is a MATLAB 7.3 file"),
        (b"no matlab at all" * 99, "cannot be read as a MATLAB file"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(SceneError, match=message):
        matfile.read(tmp_path / "a.mat")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_half_a_file_is_refused(tmp_path, share):
    path = saved(tmp_path, data=np.random.default_rng(0).random((30, 30, 9)), map=np.ones((30, 30)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(SceneError, match=r"a\.mat"):
        matfile.read(path)
