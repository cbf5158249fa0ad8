"""`satae export` as a library call: what is read, measured, written and refused."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from satae import config
from satae.cli import info
from satae.cli.app import app
from satae.convert import fidelity
from satae.convert import run as convert
from satae.convert.run import Options
from satae.errors import ConfigError, ModelError, OutputError, TilesError
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring import outputs
from satae.scoring import run as scoring
from satae.tiles import store
from satae.training import run as training


def folder_of(model_path, tile_set, tmp_path, monkeypatch) -> Path:
    """A working folder with model.onnx, runs/model and tiles/land."""
    shutil.copy(model_path, tmp_path)
    shutil.copytree(model_path.parent / "runs", tmp_path / "runs")
    shutil.copytree(tile_set, tmp_path / "tiles" / "land")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_half_precision_is_measured_and_remembered(model_path, tile_set, tmp_path, monkeypatch, scene_path):
    here = folder_of(model_path, tile_set, tmp_path, monkeypatch)
    made = convert.convert(Path("runs/model"), None, Options(precision="fp16"))
    assert made.out == Path("model_fp16.onnx") and made.tiling is None
    model = runtime.load(made.out, "cpu")
    assert model.card.precision == "fp16" and model.card.fidelity == made.fidelity
    assert made.fidelity.rank_correlation > 0.999 and made.fidelity.overlap > 0.95
    own = runtime.load(Path("model.onnx"), "cpu").card
    assert model.card.model_copy(update={"precision": "fp32", "fidelity": None}) == own
    assert made.size == made.out.stat().st_size < made.source_size
    assert info.about(made.out)["precision"] == "fp16"
    result = scoring.score([describe([scene_path])], model, here / "a.gpkg", outputs.Options())
    assert result.out.exists() and result.scenes[0].verdict.domain == "same"


def test_integers_are_scored_by_the_command_as_any_model(
    model_path, tile_set, tmp_path, monkeypatch, scene_path
):
    folder_of(model_path, tile_set, tmp_path, monkeypatch)
    done = CliRunner().invoke(app, ["export", "model.onnx", "--precision", "int8"])
    assert done.exit_code == 0, done.stderr
    assert "held-out pixels: rank correlation of the map " in done.stdout
    done = CliRunner().invoke(
        app, ["-q", "score", str(scene_path), "--model", "model_int8.onnx", "--top", "3"]
    )
    assert done.exit_code == 0, done.stderr
    assert "3 anomalies" in done.stdout
    with pytest.raises(ModelError, match="is int8 already"):
        convert.convert(Path("model_int8.onnx"), None, Options(precision="fp16"))


def test_a_model_that_loses_too_much_is_not_written(model_path, tile_set, tmp_path, monkeypatch):
    here = folder_of(model_path, tile_set, tmp_path, monkeypatch)
    monkeypatch.setattr(fidelity, "LEAST_RANK", 1.1)
    before = left(here)
    done = CliRunner().invoke(app, ["export", "runs/model", "--precision", "fp16"])
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith(
        "error: model.onnx loses too much as fp16: rank correlation of the map 1.0000"
    )
    assert left(here) == before


def test_the_flavor_can_be_in_fewer_bits(model_path, tile_set, tmp_path, monkeypatch):
    folder_of(model_path, tile_set, tmp_path, monkeypatch)
    options = Options("deepness", "fp16", nodata=0.0)
    made = convert.convert(Path("model.onnx"), None, options)
    assert made.out == Path("model_deepness_fp16.onnx")
    proto = onnx.load(made.out)
    assert made.tiling.size == proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    assert onnx.TensorProto.FLOAT16 in {i.data_type for i in proto.graph.initializer}
    with pytest.raises(ModelError, match="no satae model card"):
        runtime.load(made.out, "cpu")


def test_an_older_file_is_replaced_only_when_asked(model_path, tile_set, tmp_path, monkeypatch):
    here = folder_of(model_path, tile_set, tmp_path, monkeypatch)
    out = here / "other.onnx"
    out.write_bytes(b"precious")
    with pytest.raises(OutputError, match="--overwrite"):
        convert.convert(Path("model.onnx"), out, Options("deepness"))
    assert out.read_bytes() == b"precious"
    convert.convert(Path("model.onnx"), out, Options("deepness", overwrite=True))
    onnx.checker.check_model(str(out))
    assert left(here) == ["model.onnx", "other.onnx", "runs", "tiles"]


def test_the_model_itself_is_never_replaced(model_path, tile_set, tmp_path, monkeypatch):
    here = folder_of(model_path, tile_set, tmp_path, monkeypatch)
    before = Path("model.onnx").read_bytes()
    with pytest.raises(ConfigError, match="is the model itself"):
        convert.convert(Path("runs/model"), here / "model.onnx", Options("deepness", overwrite=True))
    assert Path("model.onnx").read_bytes() == before


def test_a_run_is_known_by_its_recipe(model_path, tile_set, tmp_path, monkeypatch):
    here = folder_of(model_path, tile_set, tmp_path, monkeypatch)
    assert convert.model_file(Path("runs/model")) == Path("model.onnx")
    assert convert.model_file(Path("model.onnx")) == Path("model.onnx")
    (here / "runs" / "model" / "config.yaml").write_text("model: {name: conv}\n")
    with pytest.raises(ModelError, match="another recipe"):
        convert.model_file(Path("runs/model"))
    (here / "runs" / "model").rename(here / "runs" / "gone")
    with pytest.raises(ModelError, match=r"gone\.onnx, the model of"):
        convert.model_file(Path("runs/gone"))
    with pytest.raises(ModelError, match="no run of"):
        convert.model_file(Path("tiles"))


def test_the_loss_is_measured_on_what_was_learned_from(model_path, tile_set, tmp_path, monkeypatch):
    here = folder_of(model_path, tile_set, tmp_path, monkeypatch)
    (here / "tiles" / "land").rename(here / "elsewhere")
    with pytest.raises(TilesError, match="no tile set of land in tiles"):
        convert.convert(Path("model.onnx"), None, Options(precision="fp16"))
    named = Options(precision="fp16", tilesets=[Path("elsewhere")])
    assert convert.convert(Path("model.onnx"), None, named).fidelity.pixels > 0
    record = here / "elsewhere" / "tileset.json"
    record.write_text(record.read_text().replace('"uint16"', '"float32"'))
    np.save(here / "elsewhere" / "tiles.npy", np.load(here / "elsewhere" / "tiles.npy").astype(np.float32))
    with pytest.raises(ModelError, match="holds float32"):
        convert.convert(Path("model.onnx"), here / "b.onnx", named)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "as it is trained"),
        ({"flavor": "tensorrt"}, "--flavor tensorrt: there are satae, deepness"),
        ({"precision": "int4"}, "--precision int4: there are fp32, fp16, int8"),
        ({"precision": "fp16", "nodata": 0.0}, "--nodata goes with"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, fault):
    with pytest.raises(ConfigError, match=fault):
        Options(**options)


def test_a_closed_form_is_exported_to_the_plugin_but_not_in_fewer_bits(
    model_path, tile_set, tmp_path, monkeypatch
):
    here = folder_of(model_path, tile_set, tmp_path, monkeypatch)
    sets = [store.load(Path("tiles/land"))]
    recipe = config.load(None, ["model.name=rx"])
    training.train(sets, recipe, here / "rx.onnx", here / "runs" / "rx", device="cpu")
    with pytest.raises(ModelError, match=r"rx\.onnx has no layers of weights"):
        convert.convert(Path("rx.onnx"), None, Options(precision="int8"))
    made = convert.convert(Path("rx.onnx"), None, Options("deepness"))
    session = runtime.open_session(made.out.read_bytes(), "it")
    image = np.full((2, 4, made.tiling.size, made.tiling.size), np.nan, np.float32)
    assert not session.run(None, {"image": image})[0].any()  # NaN is not scored
