"""The tool inside `satae score`: scenes and a model in; heatmaps and a layer file out, or nothing."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

import satae
from satae import calibrate, qgis, raster
from satae.anomalies import Anomaly, TooMany, regions, strips_of
from satae.calibrate import DEFAULT_RULE, Calibration, Rule
from satae.card import check_bands, check_gsd
from satae.errors import ConfigError, ModelError, OutputError, SceneError
from satae.grid import Grid, Window
from satae.layers import SceneLayer, common_crs, writer
from satae.maxima import Maxima
from satae.publish import check_target, locked, publish, staging
from satae.runtime import Model
from satae.scan import scan
from satae.scene import Scene

log = logging.getLogger(__name__)

PEEK = 32  # pixels a side around a peak that decide which band stands out
SLAB_PIXELS = 2**18
STEP = 0.25  # of the heatmap, by which the level of candidates is raised where they are too many
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Options:
    """How to score. `min_area_m2` of None is four pixels; without a CRS it counts pixels."""

    rule: Rule = DEFAULT_RULE
    min_area_m2: float | None = None
    heatmap: Path | None = None
    workers: int = 2
    overwrite: bool = False
    created: str = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class SceneResult:
    """What came of one scene. `threshold` is in the unit of the heatmap."""

    name: str
    path: str
    heatmap: Path
    anomalies: int
    threshold: float
    valid_fraction: float
    remark: str


@dataclass(frozen=True)
class Result:
    """What `satae score` made."""

    out: Path
    scenes: list[SceneResult]
    provider: str


def score(
    scenes: Sequence[Scene],
    model: Model,
    out: Path,
    options: Options,
    progress: Progress = lambda pixels: None,
) -> Result:
    """Score scenes and publish the layers to `out`, the heatmaps beside it; all or nothing is written.

    `progress` is called with the number of pixels scored. Raises ModelError where a scene does not fit the
    model, SceneError where one is damaged, OutputError where a target exists, is locked or cannot be
    written. No input or older output is changed by a failure.
    """
    if model.card.calibration is None:
        raise ModelError(f"{model.name} is not calibrated; train it again")
    write = writer(out)
    common_crs([s.grid for s in scenes])
    names = _unique([s.name for s in scenes])
    targets = _heatmap_targets(out, names, options.heatmap)
    for target in (out, *targets, *(t.with_suffix(".qml") for t in targets)):
        _check_no_input(target, scenes)
        check_target(target, overwrite=options.overwrite)
    for scene in scenes:
        check_fit(scene, model)
    with ExitStack() as stack:
        stack.enter_context(locked(out))
        folder = stack.enter_context(staging(out))
        scored = [
            _score_scene(scene, name, model, folder / target.name, options, progress)
            for scene, name, target in zip(scenes, names, targets, strict=True)
        ]
        draft = folder / out.name
        write(draft, out.name, [layer for layer, _ in scored], options.created)
        for target in targets:
            publish(folder / target.with_suffix(".qml").name, target.with_suffix(".qml"))
            publish(folder / target.name, target)
        publish(draft, out)
    results = [
        SceneResult(heatmap=target, **found) for (_, found), target in zip(scored, targets, strict=True)
    ]
    return Result(out, results, model.provider)


def _unique(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that were there before."""
    out: list[str] = []
    for name in names:
        tried, number = name, 2
        while tried in out:
            tried, number = f"{name}-{number}", number + 1
        out.append(tried)
    return out


def _check_no_input(target: Path, scenes: Sequence[Scene]) -> None:
    """Refuse to write over what is read, whatever --overwrite says."""
    read = [p for s in scenes for p in (*(f.path for f in s.files), s.limits.aoi, s.limits.mask) if p]
    if target.exists() and any(target.samefile(p) for p in read):
        raise ConfigError(f"{target} is an input of this run and is not overwritten; choose another name")


def _heatmap_targets(out: Path, names: Sequence[str], chosen: Path | None) -> list[Path]:
    if chosen is not None:
        if len(names) > 1:
            raise ConfigError("--heatmap names one file and there are several scenes; leave it out")
        if chosen.absolute().parent != out.absolute().parent:
            raise ConfigError(f"--heatmap {chosen} must lie in the folder of {out}, whose project shows it")
        if chosen.suffix.lower() not in (".tif", ".tiff"):
            raise ConfigError(f"--heatmap {chosen} must end in .tif")
        return [chosen]
    if len(names) == 1:
        return [out.with_name(f"{out.stem}_heatmap.tif")]
    return [out.with_name(f"{out.stem}_{name}_heatmap.tif") for name in names]


def check_fit(scene: Scene, model: Model) -> None:
    """ModelError where bands, dtype, GSD or the range of the scene's DN are not those of the model."""
    card, path = model.card, str(scene.path)
    check_bands(card, scene.names, scene.dtype, (scene.scales, scene.offsets), path)
    check_gsd(card, scene.grid.gsd_m, path)
    sample = _sample(scene)
    if not len(sample):
        return
    floor, ceiling = np.array(card.normalization.floor), np.array(card.normalization.ceiling)
    low, high = np.quantile(sample, [0.05, 0.95], axis=0)
    for i, band in enumerate(card.bands):
        if low[i] > ceiling[i] or high[i] < floor[i]:
            raise ModelError(
                f"{path} has DN from {low[i]:.4g} to {high[i]:.4g} in {band.name} and the model was trained on "
                f"{floor[i]:.4g} to {ceiling[i]:.4g}; bring both to one scale, or train a model on the scene"
            )


def _sample(scene: Scene) -> npt.NDArray[np.float64]:
    """Valid pixels (n, B) of a few windows spread over the scene."""
    side = 64
    picked = []
    with scene.open() as reader:
        for row in np.linspace(0, max(0, scene.grid.height - side), 3, dtype=int):
            for col in np.linspace(0, max(0, scene.grid.width - side), 3, dtype=int):
                image, valid = reader.read(Window(int(row), int(col), side, side))
                picked.append(image[:, valid].T.astype(np.float64))
    return np.concatenate(picked)


def _score_scene(
    scene: Scene, name: str, model: Model, draft: Path, options: Options, progress: Progress
) -> tuple[SceneLayer, dict[str, Any]]:
    """Write the scene's heatmap to `draft` and measure its regions."""
    calibration = model.card.calibration
    assert calibration is not None
    tiles = Maxima(scene.grid, model.card.tile)
    plain = draft.with_name(f"{draft.stem}.plain.tif")
    checks: dict[Window, int] = {}
    with raster.writing(plain, scene.grid, nodata=math.nan) as output:
        for window, scores in scan(scene, model, options.workers):
            tiles.add(window, scores)
            heat = _heat_of(calibration, scores)
            raster.write(output, heat[None], window)
            checks[window] = zlib.crc32(heat.tobytes())
            progress(window.height * window.width)
    valid = int(tiles.count.sum())
    found, threshold, remark = _regions(plain, scene, calibration, options, valid)
    raster.to_cog(plain, draft)
    plain.unlink()
    _verify(draft, checks)
    remark = remark if valid else "no pixel is valid, so none was scored"
    valid_fraction = valid / scene.grid.pixels
    bands = _top_bands(scene, model, found)
    rows = _rows(name, scene, calibration, found, bands)
    data, corners = tiles.columns(name, calibration)
    maximum = float(calibration.pixel.exponent(max(0.0, float(tiles.peak.max()))))
    draft.with_suffix(".qml").write_text(qgis.heatmap_style(maximum), encoding="utf-8")
    footprint = {
        "scene": name,
        "path": ";".join(str(f.path) for f in scene.files),
        "crs": scene.grid.crs or "",
        "gsd_m": scene.grid.gsd_m if scene.grid.gsd_m is not None else math.nan,
        "bands": ",".join(scene.names),
        "valid_fraction": valid_fraction,
        "anomalies": len(rows),
        "threshold": threshold if math.isfinite(threshold) else math.nan,  # NULL where nothing was reported
        "rule": str(options.rule),
        "model_sha256": model.sha256,
        "satae_version": satae.__version__,
        "provider": model.provider,
        "created": options.created,
    }
    polygons = scene.grid.polygons(np.array([a.polygon for a in found], dtype=object))
    layer = SceneLayer(scene.grid, rows, polygons, data, corners, footprint, draft.name, maximum)
    return layer, {
        "name": name,
        "path": str(scene.path),
        "anomalies": len(rows),
        "threshold": threshold,
        "valid_fraction": valid_fraction,
        "remark": remark,
    }


def _heat_of(calibration: Calibration, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Calibrated scores, NaN where `scores` is; computed in slabs, for it takes ten times the memory."""
    heat = np.full(scores.shape, np.nan, np.float32)
    rows = max(1, SLAB_PIXELS // scores.shape[1])
    for row in range(0, len(scores), rows):
        part = scores[row : row + rows]
        good = np.isfinite(part)
        heat[row : row + rows][good] = calibration.pixel.exponent(part[good])
    return heat


def _verify(path: Path, checks: dict[Window, int]) -> None:
    """Read every block back: a full disk can leave a file that opens and is not what was written."""
    for window, heat in _read_back(path, checks):
        if zlib.crc32(heat.tobytes()) != checks[window]:
            raise OutputError(f"{path.name} reads back differently than it was written; is the disk full?")


def _regions(
    path: Path, scene: Scene, calibration: Calibration, options: Options, valid: int
) -> tuple[list[Anomaly], float, str]:
    """(regions by falling peak, threshold, remark); peak and mean are raw scores.

    With --far and --threshold a region is what reaches the threshold. With --fdr and --top it is a candidate
    as in the calibration sample, outlined where background reaches 1 % of the time, and the threshold is
    the lowest peak that made it. Thresholds are in the unit of the heatmap.
    """
    rule, remark = options.rule, ""
    if rule.kind == "threshold":
        level = rule.value
    elif rule.kind == "far":
        raw, remark = calibrate.far_threshold(
            calibration, rule.value, scene.grid.pixel_area_m2, _min_pixels(scene.grid, options)
        )
        level = _heat(calibration, raw)
    else:
        level = _heat(calibration, calibration.candidate)
    fixed = rule.kind in ("far", "threshold")
    found, raised = _regions_from(level, path, scene.grid, calibration, options, fixed=fixed)
    if fixed:
        return found, level, remark
    if rule.kind == "top":
        kept = found[: int(rule.value)]
    else:
        peaks = np.array([a.peak for a in found])
        if raised:  # those that were not looked at count as tests too
            expected = calibration.alarms_of(_min_pixels(scene.grid, options)).per_pixel * valid
            unseen = max(0, round(expected) - len(found))
            peaks = np.concatenate([peaks, np.full(unseen, calibration.candidate)])
        lowest, remark = calibrate.fdr_threshold(calibration, rule.value, peaks)
        kept = [a for a in found if a.peak >= lowest]
    return kept, _heat(calibration, kept[-1].peak) if kept else math.inf, remark


def _regions_from(
    level: float, path: Path, grid: Grid, calibration: Calibration, options: Options, *, fixed: bool
) -> tuple[list[Anomaly], bool]:
    """(regions at `level`, False), or where it is not `fixed` and they are too many (at a higher one, True)."""
    smallest, raised = _min_pixels(grid, options), False
    while True:
        strips = _read_back(path, strips_of(grid))
        try:
            return regions(strips, level, min_pixels=smallest, measure=calibration.pixel.score_at), raised
        except TooMany:
            if fixed:
                raise
            level, raised = level + STEP, True


def _read_back(path: Path, windows: Iterable[Window]) -> Iterator[tuple[Window, npt.NDArray[np.float32]]]:
    """Windows of a heatmap; OutputError where they cannot be decoded, for what wrote them is this program."""
    try:
        with raster.reading(path) as dataset:
            for window in windows:
                yield window, raster.read(path, dataset, [1], window)[0]
    except SceneError as error:
        raise OutputError(f"{path.name} cannot be read back as it was written; is the disk full?") from error


def _heat(calibration: Calibration, raw: float) -> float:
    """A raw score in the unit and precision of the heatmap."""
    return float(np.float32(calibration.pixel.exponent(raw)))


def _min_pixels(grid: Grid, options: Options) -> int:
    if options.min_area_m2 is None:
        return calibrate.SPECK
    return max(1, math.ceil(options.min_area_m2 / (grid.pixel_area_m2 or 1.0) - 1e-9))


def _top_bands(scene: Scene, model: Model, found: Sequence[Anomaly]) -> list[str]:
    """The band that adds most to the score of each region, over its pixels near the peak."""
    if not found:
        return []
    halo, stride = model.card.halo, model.card.stride
    names = []
    with scene.open() as reader:
        for anomaly in found:
            first = [(v - PEEK // 2) // stride * stride for v in (anomaly.row, anomaly.col)]
            window = Window(first[0], first[1], PEEK, PEEK)
            image, valid = reader.read(window.grown(halo))
            rows, cols = window.slices(window.grown(halo))
            error = model.band_error(image[None], valid[None])[0, :, rows, cols]
            inside = raster.burn([anomaly.polygon], window, Affine.identity())
            names.append(scene.names[int(error[:, inside].sum(axis=1).argmax())])
    return names


def _rows(
    name: str, scene: Scene, calibration: Calibration, found: Sequence[Anomaly], bands: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of the anomalies layer; the rank over all scenes is set when they are written."""
    exponents = calibration.region.exponent([a.peak for a in found])
    areas = scene.grid.area_m2(scene.grid.polygons(np.array([a.polygon for a in found], dtype=object)))
    return [
        {
            "anomaly_id": f"{name}-r{a.row}-c{a.col}",
            "rank": 0,
            "scene": name,
            "score": float(exponent),
            "p_value": float(10.0**-exponent),
            "peak": a.peak,
            "mean": a.mean,
            "area_m2": float(area),
            "pixels": a.pixels,
            "top_band": band,
            "review_status": qgis.REVIEW_STATUSES[0],
            "review_note": "",
        }
        for a, band, exponent, area in zip(found, bands, exponents, areas, strict=True)
    ]
