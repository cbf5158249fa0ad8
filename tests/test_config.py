"""Recipes: the default, what is refused and how, and that the files in configs/ are what the code says."""

import re
from pathlib import Path

import pytest
import yaml

from satae import config, models
from satae.config import MAX_BYTES, Recipe, load, recipe_of, recipes
from satae.errors import ConfigError
from satae.models import sequence
from satae.training.presets import complete_recipe

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def places(values: dict[str, object], above: str = "") -> dict[str, object]:
    """All settings by their dotted names; what has no settings of its own is one."""
    out: dict[str, object] = {}
    for key, value in values.items():
        inside = isinstance(value, dict) and key not in ("params", "terms")
        out |= places(value, f"{above}{key}.") if inside else {above + key: value}
    return out


def refusal(path: Path | None, *changes: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, list(changes))
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600
    return text


def test_no_file_and_no_change_is_the_default_recipe():
    assert load(None) == Recipe() == load(None, [])


def test_default_yaml_names_every_setting_and_leaves_it_open():
    path = CONFIGS / "default.yaml"
    assert load(path) == Recipe()
    assert places(yaml.safe_load(path.read_text())).keys() == places(Recipe().model_dump()).keys()
    for bands in (3, 4, 200):
        assert complete_recipe(load(path), bands, 10.0) == complete_recipe(Recipe(), bands, 10.0)


def test_default_yaml_tells_the_defaults_of_the_code():
    lines = (CONFIGS / "default.yaml").read_text().splitlines()
    told = [match for line in lines if (match := re.match(r"\s*(\w+): .* # \((.*?)\) ", line))]
    values = places(Recipe().model_dump()) | {"score": [{"name": "whitened"}]}
    assert [m[1] for m in told] == [name.rpartition(".")[2] for name in values]
    assert [yaml.safe_load(m[2]) for m in told] == list(values.values())


def test_every_recipe_in_configs_loads():
    paths = sorted(CONFIGS.glob("*.yaml"))
    assert paths
    assert all(isinstance(load(path), Recipe) for path in paths)


def test_every_architecture_has_a_recipe():
    named = {load(path).model.name for path in recipes().values() if path.stem != "default"}
    assert named == {*models.NAMES, *sequence.LEARNED}


def test_a_recipe_is_found_by_its_name_or_by_its_path(tmp_path: Path, monkeypatch):
    assert load(Path("areas")) == load(CONFIGS / "areas.yaml") != Recipe()
    monkeypatch.chdir(tmp_path)
    Path("areas.yaml").write_text("model: {name: rx}")
    Path("own").write_text("model: {name: pca}")
    assert (load(Path("areas.yaml")).model.name, load(Path("own")).model.name) == ("rx", "pca")
    assert load(Path("areas")).model.name == "rx_shrunk", "a name is not that of a file"


def test_a_recipe_that_there_is_not_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError) as refused:
        load(Path("area"))
    said = str(refused.value)
    assert said.startswith("area is no file and no recipe of satae")
    assert all(path.stem in said for path in CONFIGS.glob("*.yaml"))


def test_a_recipe_survives_being_written_and_read(tmp_path: Path):
    recipe = load(None, ["train.epochs=3", "model.params.width=8", "augment.gain=0.5"])
    assert load(written(tmp_path, yaml.safe_dump(recipe.model_dump()))) == recipe


def test_an_unknown_key_is_refused_with_the_keys_there_are():
    text = refusal(None, "train.epoch=3")
    assert "train.epoch;" in text
    assert all(name in text for name in ("epochs", "batch", "learning_rate", "seed"))


def test_an_unknown_group_is_refused_with_the_groups_there_are():
    assert "there are model, target, input, objective, score, map, train, augment" in refusal(
        None, "training.epochs=3"
    )


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("train.epochs=0", ["train.epochs = 0", "greater than or equal to 1"]),
        ("train.epochs=many", ["train.epochs = 'many'", "integer"]),
        ("train.learning_rate=.nan", ["finite"]),
        ("train.learning_rate=.inf", ["finite"]),
        ("train.learning_rate=-1", ["greater than 0"]),
        ("train.validation=1", ["less than 1"]),
        ("train.seed=-1", ["train.seed = -1"]),
        ("train.seed=4294967296", ["less than 4294967296"]),
        ("train.precision=fp8", ["'auto', 'fp32', 'bf16' or 'fp16'"]),
        ("input.space=pca", ["'whitened', 'bands', 'unit' or 'auto'"]),
        ("target.kind=foo", ["target.kind = 'foo'", "'object', 'area' or 'auto'"]),
        ("augment.gain=2", ["augment.gain = 2"]),
        ("train=3", ["group of settings", "epochs"]),
        ("train=", ["group of settings"]),
        ("model.params.width=[1]", ["model.params.width"]),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name_and_what_is_allowed(change: str, parts: list[str]):
    text = refusal(None, change)
    assert all(part in text for part in parts), text


@pytest.mark.parametrize(
    "change",
    [
        "epochs", "=3", "train.epochs.x=3", "train..x=3", "train.epochs=[[", "train.epochs=2001-99-99",
        "train.epochs=" + "[" * 50_000, "train.epochs=*a", "train.epochs=!!python/name:os.system",
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_read_is_refused_in_one_sentence(change: str):
    assert refusal(None, change)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("train.epochs=7", 7),
        ("train.learning_rate=1e-3", 1e-3),
        ("augment.flip=no", False),
        ("train.precision=fp32", "fp32"),
        ("model.params.width=8", 8),
        ("model.params.compression=4.5", 4.5),
    ],
)
def test_a_change_has_the_type_of_its_setting(change: str, value: object):
    found: object = load(None, [change])
    for step in change.partition("=")[0].split("."):
        found = found[step] if isinstance(found, dict) else getattr(found, step)
    assert found == value and type(found) is type(value)


def test_changes_go_over_the_file_and_later_ones_over_earlier_ones(tmp_path: Path):
    path = written(tmp_path, "train: {epochs: 3, seed: 5}")
    settings = load(path, ["train.epochs=4", "train.epochs=6"]).train
    assert (settings.epochs, settings.seed) == (6, 5)


def test_an_empty_file_is_the_default_recipe(tmp_path: Path):
    assert load(written(tmp_path, "# nothing\n")) == Recipe()


def test_the_file_is_named_in_a_refusal(tmp_path: Path):
    path = written(tmp_path, "train: {epochs: -1}")
    assert refusal(path).startswith(f"{path}: train.epochs = -1")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: &x {y: 1}\nmodel:\n  <<: *x", "aliases"),
        ("train: !!python/object/apply:os.system [ls]", "constructor"),
        ("train: !secret x", "constructor"),
        ("train: {epochs: 3}\ntrain: {seed: 1}", "train is given twice"),
        ("train: {epochs: 3, epochs: 4}", "epochs is given twice"),
        ("a: " + "[" * 50_000, "nested too deeply"),
        ("a: " + "{a: " * 50_000, "nested too deeply"),
        ("a: " + "9" * 5_000, "not a valid recipe"),
        ("[1, 2]", "`key: value`"),
        ("\x00", "not a valid recipe"),
        ("train: [", "not a valid recipe"),
        ("1: 2", "keys should be strings"),
        ("? [1]\n: 2", "not a valid recipe"),
    ],
)
def test_a_hostile_or_broken_file_is_refused_in_one_sentence(tmp_path: Path, text: str, part: str):
    assert part in refusal(written(tmp_path, text))


def test_a_huge_file_is_refused_without_being_read_whole():
    assert str(MAX_BYTES) in refusal(Path("/dev/zero"))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    assert "absent.yaml is no file and no recipe" in refusal(tmp_path / "absent.yaml")
    assert "directory" in refusal(tmp_path)


def test_a_recipe_cannot_be_changed_afterwards():
    with pytest.raises(ValueError, match="frozen"):
        recipe_of({}).train.epochs = 3


def test_auto_is_as_good_as_absent():
    changes = ["model.name=auto", "input.ridge=auto", "score=auto", "map=auto", "objective.terms=auto"]
    assert load(None, changes) == Recipe()
    assert load(None, changes).model_dump(exclude_unset=True) == {"model": {}, "input": {}, "objective": {}}


@pytest.mark.parametrize("text", ["objective=mse", "objective={terms: {mse: 1}}", "objective.terms={mse: 1}"])
def test_a_loss_is_a_name_or_terms_with_weights(text: str):
    assert load(None, [text]).objective.terms == {"mse": 1.0}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("mse", ["mse"]),
        ("[mse, mae]", ["mse", "mae"]),
        ("{name: mse}", ["mse"]),
        ("[{name: mae}, mse]", ["mae", "mse"]),
    ],
)
def test_a_score_is_a_head_or_a_list_of_heads(text: str, names: list[str]):
    assert [head.name for head in load(None, [f"score={text}"]).score] == names


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("score=[]", "score"),
        ("score=[{name: mse, nam: x}]", "there is no setting score.0.nam; there are name, params"),
        ("score=3", "score"), ("map.blur=9", "map.blur = 9"), ("map.blur=-1", "map.blur"),
        ("objective.trim=0", "trim"),
        ("objective.trim=1.5", "trim"), ("objective=[mse]", "group of settings: terms, params, trim, warm"),
        ("target.size_m=-1", "target.size_m"), ("map.max_object_px=1.5", "max_object_px"),
        ("map.support_px=8", "odd"), ("map.around_px=8", "odd"),
        ("objective.terms={mse: x}", "objective.terms.mse = 'x'"),
        ("train.optimizer=sgf", "'rmsprop', 'sgd' or 'auto'"),
    ],
)  # fmt: skip
def test_a_wrong_loss_head_map_or_target_is_refused_in_one_sentence(change: str, part: str):
    assert part in refusal(None, change)


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        (
            [
                "train.epochs=9",
                "model.params.width=8",
                "objective.terms={mse: 1.0}",
                "score=[{name: latent}]",
            ],
            "",
        ),
        (["train.epochs=8"], "train.epochs"),
        (["model.params.code=8"], "model.params.code"),
        (["objective.terms={mse: 1.0, bce: 1.0}"], "objective.terms"),
        (["score=[latent, whitened]"], "score"),
        (["score=[whitened]"], "score.0.name"),
    ],
)
def test_what_is_asked_for_differs_by_the_first_setting_that_a_recipe_has_otherwise(asked, other):
    given = ["train.epochs=9", "model={name: conv, params: {width: 8, norm: none}}", "score=latent"]
    own = config.load(None, [*given, "objective.terms={mse: 1.0}"])
    assert config.difference(own, config.load(None, asked)) == other
