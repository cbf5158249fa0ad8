"""One scene in, one folder and one plain record out: in this process, in another one, and put together later."""

import hashlib
import io
import multiprocessing
import pickle
import shutil
import sqlite3
import zipfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from scored import layer, run
from told import Told

from satae.errors import ModelError
from satae.gis.columns import LAYERS, Region, values
from satae.inference import runtime
from satae.publish import lock
from satae.scene.describe import describe
from satae.scene.scene import Scene
from satae.scoring.outputs import Options
from satae.scoring.record import How, SceneRecord, score_scene
from satae.scoring.rule import Top
from satae.scoring.run import assemble

HOW = How(rule=Top(5), workers=1, chips=3)


def record_of(scene: Scene, model: runtime.Model, tmp_path: Path) -> SceneRecord:
    (tmp_path / "one").mkdir()
    return score_scene(scene, model, tmp_path / "one", HOW)


def told(record: SceneRecord) -> list[object]:
    """All that a record says, comparable, and the bytes in its folder; not where that is."""
    regions = [repr(values(r)) + r.polygon.wkt + r.outline.wkt for r in record.layer.regions]
    tiles = [v.tolist() for v in values(record.layer.tiles).values()]
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in record.folder.iterdir()}
    rest = record.view, record.threshold, record.smallest, record.verdict, record.remarks, record.damage
    return [regions, tiles, record.layer.scene, record.layer.grid, record.files, files, *rest]


def test_a_record_survives_pickling(scene: Scene, model: runtime.Model, tmp_path: Path) -> None:
    record = record_of(scene, model, tmp_path)
    assert len(record.layer.regions) == 5
    assert told(pickle.loads(pickle.dumps(record))) == told(record)


def test_a_record_says_how_qgis_draws_the_scene(
    scene: Scene, scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    """The bands that are red, green and blue, from the 0.5 to the 99.5 % quantile of all valid pixels."""
    backdrop = record_of(scene, model, tmp_path).layer.backdrop
    assert backdrop is not None and Path(backdrop.file) == scene_path.absolute()
    chosen = [scene.names[c.band - 1] for c in backdrop.channels]
    assert chosen == [scene.names[i] for i in reversed(scene.natural)]
    with scene.open() as reader:
        image, valid = reader.read(scene.grid.window)
    for channel in backdrop.channels:
        wanted = np.quantile(image[channel.band - 1][valid], [0.005, 0.995])
        assert np.allclose([channel.low, channel.high], wanted, rtol=0.02), channel


def test_the_project_finds_the_scene_from_the_folder_of_the_result(
    scene_path: Path, model: runtime.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "results").mkdir()
    shutil.copy(scene_path, tmp_path / "data" / "land.tif")
    monkeypatch.chdir(tmp_path)
    result = run(Path("results"), model, describe([Path("data/land.tif")]), rule=Top(4))
    with closing(sqlite3.connect(result.out)) as database:
        ((content,),) = database.execute("SELECT content FROM qgis_projects").fetchall()
    with zipfile.ZipFile(io.BytesIO(bytes.fromhex(content))) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    assert "<datasource>./../data/land.tif</datasource>" in text and str(tmp_path) not in text


def test_a_scene_scored_in_a_spawned_process_gives_the_same_folder_and_record(
    scene: Scene, model: runtime.Model, tmp_path: Path
) -> None:
    record = record_of(scene, model, tmp_path)
    (tmp_path / "other").mkdir()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(score_scene, scene, model, tmp_path / "other", HOW).result()
    assert found.folder == tmp_path / "other" and told(found) == told(record)


def test_records_are_put_together_as_the_command_does(
    scene: Scene, model: runtime.Model, tmp_path: Path
) -> None:
    at_once = run(tmp_path, model, scene, scene, name="a.gpkg", rule=Top(4), chips=3)
    records = []
    for name in ("land", "land-2"):
        (tmp_path / name).mkdir()
        how = Options(Top(4), workers=1, chips=3).how(500)
        records.append(score_scene(scene, model, tmp_path / name, how, name=name))
    with lock(tmp_path / "b.gpkg"):
        later = assemble(records, model, tmp_path / "b.gpkg", Options(Top(4), chips=3))
    one, other = (layer(r).drop(columns="chip") for r in (at_once, later))
    assert one.equals(other) and later.drawn == 3
    for mine, theirs in zip(at_once.scenes, later.scenes, strict=True):
        assert mine.heatmap.read_bytes() == theirs.heatmap.read_bytes()


def test_looks_are_kept_for_chips_and_for_all_where_feedback_may_move_ranks(
    scene: Scene, model: runtime.Model, tmp_path: Path
) -> None:
    record = record_of(scene, model, tmp_path)
    assert [record.look(i).shape[2] for i in range(3)] == [10] * 3
    assert record.look(3) is None
    (tmp_path / "moved").mkdir()
    moved = score_scene(scene, model, tmp_path / "moved", How(rule=Top(5), workers=1, chips=1, reorder=True))
    assert all(np.array_equal(moved.look(i), record.look(i)) for i in range(3)) and moved.look(4).size


def test_a_model_is_pickled_by_path_and_hash(model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_path.read_bytes())
    content = pickle.dumps(runtime.load(path, "cpu", 1))
    assert len(content) < 1000 and pickle.loads(content).card == runtime.load(path, "cpu", 1).card
    path.write_bytes(path.read_bytes() + bytes(2))
    with pytest.raises(ModelError):
        pickle.loads(content)
    with pytest.raises(ModelError, match="was not opened from a file"):
        pickle.dumps(runtime.from_bytes(model_path.read_bytes(), "made", "cpu", 1))


def test_every_field_of_a_region_is_a_column_or_says_where_it_lies() -> None:
    assert set(Region.__dataclass_fields__) - set(LAYERS["anomalies"]) == {"polygon", "outline", "row", "col"}


def test_every_part_of_the_work_has_a_line(scene, model, tmp_path: Path) -> None:
    steps = Told()
    record = score_scene(scene, model, tmp_path, HOW, name="here", steps=steps)
    found = len(record.layer.regions)
    assert steps.told == [
        ("score here", scene.grid.pixels, scene.grid.pixels), ("compare here with training", 0, 0),
        ("find regions of here", 0, 0), ("look at regions of here", found, found),
    ]  # fmt: skip
