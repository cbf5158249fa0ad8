"""Pixels are decoded once and inferred once, and what later steps find in the scratch files is what passed by."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from maps import passed
from scored import layer, run

from satae import composite
from satae.demo import synthetic
from satae.grid import Window
from satae.inference import runtime
from satae.inference.scan import look
from satae.scene.scene import Scene, SceneReader
from satae.scoring import domain
from satae.scoring.cache import PixelCache
from satae.scoring.record import How, score_scene
from satae.scoring.rule import Top

WINDOWS = [Window(-10, -20, 40, 50), Window(240, 300, 30, 40), Window(5, 6, 7, 8), Window(400, 0, 3, 3)]
CORE = 32  # pixels a side of what one inference yields in these tests


def kept_of(scene: Scene, model: runtime.Model, tmp_path: Path) -> PixelCache:
    return passed(scene, model, tmp_path, floor=3.0)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_pixels_are_those_that_the_scene_gives(
    window: Window, model: runtime.Model, tmp_path: Path, scene: Scene
) -> None:
    kept = kept_of(scene, model, tmp_path)
    with scene.open() as reader:
        image, valid = reader.read(window)
    found, good = kept.read(window)
    assert np.array_equal(good, valid) and found.dtype == image.dtype
    assert np.array_equal(found, np.where(valid, image, 0))


@pytest.mark.parametrize("window", WINDOWS[:3], ids=str)
def test_scores_errors_and_expectations_are_those_of_the_scan(
    window: Window, tmp_path: Path, scene: Scene, model: runtime.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_of(scene, model, tmp_path)
    monkeypatch.setattr("satae.inference.scan.STRIP_BYTES", 8 << 20)  # the scene in one window
    inside = window.clip(scene.grid.window)
    (seen,) = look(scene, model, 1)
    there, here = inside.slices(seen.window), inside.slices(window)
    scores, (error, expected) = kept.scores(window), kept.explanation(window)
    assert np.array_equal(scores[here], seen.scores[there], equal_nan=True)
    assert np.isfinite(scores).sum() == np.isfinite(seen.scores[there]).sum()
    high = seen.scores[there] >= 3.0
    assert np.array_equal(error[:, *here][:, high], seen.error[:, *there][:, high])
    assert np.array_equal(expected[:, *here][:, high], seen.expected[:, *there][:, high])
    shown = expected[: composite.BANDS, *here][:, seen.valid[there]]
    assert np.array_equal(shown, seen.expected[: composite.BANDS, *there][:, seen.valid[there]])


def test_what_a_rule_cannot_report_costs_no_room(scene: Scene, model: runtime.Model, tmp_path: Path) -> None:
    sizes = []
    for name, floor in (("low", 0.0), ("high", np.inf)):
        (tmp_path / name).mkdir()
        passed(scene, model, tmp_path / name, floor=floor)
        sizes.append(sum(p.stat().st_size for p in (tmp_path / name).iterdir()))
    pixels = scene.grid.pixels
    assert sizes[1] <= pixels * (scene.pixel_bytes + 5 + 4 * composite.BANDS)
    assert sizes[0] <= sizes[1] + pixels * 8 * len(scene.names)


class Counting:
    """An ONNX session that counts the pixels of its inputs, the halo aside."""

    def __init__(self, session: Any, halo: int) -> None:
        self.session, self.halo, self.pixels = session, halo, 0

    def run(self, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        number, _, height, width = feed["image"].shape
        self.pixels += number * (height - 2 * self.halo) * (width - 2 * self.halo)
        return list(self.session.run(outputs, feed))

    def rest(self) -> None:
        self.session.rest()


@contextmanager
def counted_reads(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Window]]:
    """The windows that are read from the scene's files meanwhile."""
    read, windows = SceneReader.read, []

    def noted(self: SceneReader, window: Window) -> tuple[np.ndarray, np.ndarray]:
        windows.append(window)
        return read(self, window)

    with monkeypatch.context() as patch:
        patch.setattr(SceneReader, "read", noted)
        yield windows


def small_of(model: runtime.Model, monkeypatch: pytest.MonkeyPatch) -> runtime.Model:
    """The model in small cores, so that a scene has many, read in many strips; it counts what it infers."""
    monkeypatch.setattr("satae.inference.scan.STRIP_BYTES", 200_000)
    card = model.card.model_copy(update={"core": CORE})
    return replace(model, card=card, session=Counting(model.session, card.halo))


def test_no_pixel_is_decoded_or_inferred_twice(
    scene: Scene,
    model: runtime.Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    landscape: synthetic.Synthetic,
) -> None:
    """Of what a reader is asked for the halo is taken off, as context; so it is of what is inferred."""
    small = small_of(model, monkeypatch)
    with counted_reads(scene, monkeypatch) as windows:
        record = score_scene(scene, small, tmp_path, How(rule=Top(100), workers=1, chips=100))
    assert len(record.layer.regions) > 30 and len(windows) > 3 and record.look(30).size
    times = np.zeros((scene.grid.height, scene.grid.width), int)
    for window in windows:
        core = window.with_margin(-small.card.halo).clip(scene.grid.window)
        times[core.slices(scene.grid.window)] += 1
    assert (times == 1).all()
    cells = list(scene.grid.window.cells((CORE, CORE)))
    scored = [c for c in cells if landscape.valid[c.slices(
        scene.grid.window)].any()]  # fmt: skip
    assert len(scored) > 50
    assert small.session.pixels == len(scored) * CORE**2


def test_before_the_scan_the_command_reads_some_small_windows_and_no_more(
    scene: Scene, model: runtime.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a scene which cannot be judged is refused before minutes of work."""
    small = small_of(model, monkeypatch)
    with counted_reads(scene, monkeypatch) as windows:
        result = run(tmp_path, small, scene, rule=Top(100))
    assert len(layer(result)) == result.drawn > 30
    first = domain._windows(scene.grid, 64, 1)
    assert windows[: len(first)] == first and len(first) <= 49
    core = sum(
        w.height * w.width
        for window in windows[len(first) :]
        if (w := window.with_margin(-small.card.halo).clip(scene.grid.window))
    )
    assert core == scene.grid.pixels
    assert not list(tmp_path.glob("**/pixels")) and not list(tmp_path.glob("**/errors"))


def test_the_sample_of_the_domain_is_not_read_again(
    scene: Scene, model: runtime.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_of(scene, model, tmp_path)
    with counted_reads(scene, monkeypatch) as windows:
        assert domain.verdict_on(kept, model).domain == "same"
    assert windows == []
