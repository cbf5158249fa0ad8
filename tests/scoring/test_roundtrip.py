"""From a pixel to the GeoPackage and back to the same pixel, on every kind of grid."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from scenes import UTM, MakeScene
from scored import layer, pixels, run

from satae.demo import synthetic
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring.rule import Threshold


@dataclass(frozen=True)
class Pointwise(runtime.Model):
    """A model that finds what is brighter than 60000 in the first band, and nothing else."""

    def anomaly_map(self, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        assert self.card.calibration is not None
        low, high = self.card.calibration.pixel.score_at([0.1, 5.0])
        return np.where(valid, np.where(image[:, 0] > 60000, high, low), np.nan).astype(np.float32)

    def band_error(self, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        return np.where(valid[:, None], image, 0).astype(np.float32)

    def explanation(self, image: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (
            self.anomaly_map(image, valid),
            self.band_error(image, valid),
            self.reconstruction(image, valid),
        )


ANGLE = math.radians(30)
GRIDS = {
    "north-up": ("EPSG:32632", UTM),
    "south-up": ("EPSG:32632", Affine(10, 0, 5e5, 0, 10, 5.19e6)),
    "mirrored": ("EPSG:32632", Affine(-10, 0, 5e5, 0, -10, 5.2e6)),
    "rotated": ("EPSG:32632", Affine(10 * math.cos(ANGLE), 10 * math.sin(ANGLE), 5e5,
                                     10 * math.sin(ANGLE), -10 * math.cos(ANGLE), 5.2e6)),
    "sheared": ("EPSG:32632", Affine(10, 4, 5e5, 0, -10, 5.2e6)),
    "geographic": ("EPSG:4326", Affine(1.3e-4, 0, 9.0, 0, -0.9e-4, 47.0)),
    "web mercator": ("EPSG:3857", Affine(14.6, 0, 1_001_875, 0, -14.6, 5_942_074)),
}  # fmt: skip
SPOT = slice(40, 45), slice(70, 77)  # 5 rows, 7 columns


def planted(make_scene: MakeScene, landscape: synthetic.Synthetic, **options: Any) -> Path:
    """The landscape with one bright rectangle."""
    image = landscape.image.copy()
    image[0][SPOT] = 65535
    return make_scene(image, name="spot.tif", nodata=0, **options)


@pytest.mark.parametrize("kind", list(GRIDS))
def test_a_planted_object_comes_back_on_its_own_pixels_with_its_ground_area(
    kind: str, make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model, tmp_path: Path
) -> None:
    crs, transform = GRIDS[kind]
    scene = describe([planted(make_scene, landscape, crs=crs, transform=transform)])
    finder = Pointwise(**vars(model))
    row = layer(run(tmp_path, finder, scene, rule=Threshold(3.0))).iloc[0]
    truth = np.zeros(landscape.valid.shape, bool)
    truth[SPOT] = True
    assert np.array_equal(pixels(row.geometry, transform, truth.shape), truth)
    assert (row["pixels"], row["top_band"], row["rank"]) == (35, scene.names[0], 1)
    move = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    ground = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(
        shapely.transform(
            shapely.segmentize(row.geometry, 5), lambda xy: np.column_stack(move.transform(*xy.T))
        )
    )[0]
    assert row["area_m2"] == pytest.approx(abs(ground), rel=0.01 if crs == "EPSG:32632" else 1e-4)


def test_a_scene_without_crs_has_positions_but_no_areas(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model, tmp_path: Path
) -> None:
    scene = describe([planted(make_scene, landscape, crs=None)])
    result = run(tmp_path, Pointwise(**vars(model)), scene, rule=Threshold(3.0), min_area_m2=35)
    (row,) = layer(result).itertuples()
    assert math.isnan(row.area_m2) and row.pixels == 35 and layer(result).crs is None
    assert row.geometry.bounds == (500_700, 5_199_550, 500_770, 5_199_600)
