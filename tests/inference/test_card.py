"""Model cards: which scenes fit, said in one sentence that names both values, and time that can be set."""

import pytest

from satae.errors import ModelError
from satae.inference import card, runtime
from satae.inference.card import Card

SCALES = (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)


def card_of(model_path) -> Card:
    return runtime.load(model_path, "cpu").card


def names(made: Card) -> tuple[str, ...]:
    return tuple(b.name for b in made.bands)


def test_a_card_survives_its_json(model_path):
    made = card_of(model_path)
    assert card.parse(made.model_dump_json(), "m") == made


def test_a_card_says_how_the_model_was_made(model_path):
    made = card_of(model_path)
    assert made.architecture == "conv" and made.parameters["width"] == 8
    assert made.recipe["train"]["epochs"] == 2 and made.metrics.keys() == {"train_loss", "val_loss"}
    assert made.tile == 32 and made.halo % made.stride == 0 and made.dtype == "uint16"
    assert made.gsd_m == [pytest.approx(10, rel=1e-3)]
    assert made.parity.share_of_range < 1e-4


def test_a_card_knows_its_scenes_by_name_hash_and_footprint(model_path):
    made = card_of(model_path)
    (scene,) = made.scenes
    assert scene.name == "land" and len(scene.sha256) == 64
    lon, lat = zip(*scene.footprint, strict=True)
    assert 8.9 < min(lon) < max(lon) < 9.1 and 46 < min(lat) < max(lat) < 47.1
    assert scene.footprint[0] == scene.footprint[-1]


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{" * 10_000, "[" * 200_000])
def test_a_text_that_is_no_card_is_refused_in_one_sentence(text: str):
    with pytest.raises(ModelError, match=r"^m.onnx has a model card that this satae cannot read[^\n]*$"):
        card.parse(text, "m.onnx")


def test_a_scene_like_those_trained_on_fits(model_path):
    made = card_of(model_path)
    card.check_bands(made, names(made), made.dtype, SCALES, "s.tif")
    card.check_gsd(made, 10.0, "s.tif")


@pytest.mark.parametrize("gsd", [10 / 1.24, 10 * 1.24, None])
def test_pixels_of_about_the_size_trained_on_fit(model_path, gsd):
    made = card_of(model_path)
    card.check_gsd(made, gsd, "s.tif")


@pytest.mark.parametrize("gsd", [0.5, 10 / 1.26, 10 * 1.26, 30])
def test_pixels_of_another_size_are_refused_with_both_sizes(model_path, gsd):
    made = card_of(model_path)
    with pytest.raises(ModelError, match=rf"^s.tif has pixels of {gsd:.3g} m and .* 10 m; resample"):
        card.check_gsd(made, gsd, "s.tif")


def test_a_model_without_a_size_of_pixels_takes_any(model_path):
    made = card_of(model_path)
    card.check_gsd(made.model_copy(update={"gsd_m": []}), 0.5, "s.tif")


def test_another_number_of_bands_is_refused_with_both_numbers(model_path):
    made = card_of(model_path)
    with pytest.raises(ModelError, match=r"^s.tif gives 3 bands and the model takes 4 \(.*--bands$"):
        card.check_bands(made, names(made)[:3], made.dtype, SCALES, "s.tif")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32", "float64"])
def test_another_dtype_is_refused_with_both(model_path, dtype):
    made = card_of(model_path)
    with pytest.raises(ModelError, match=rf"^s.tif holds {dtype} and the model was trained on uint16"):
        card.check_bands(made, names(made), dtype, SCALES, "s.tif")


@pytest.mark.parametrize(
    ("learned", "dtype"),
    [("uint16", "int16"), ("int16", "uint32"), ("float32", "float64"), ("float64", "float32")],
)
def test_types_that_hold_the_same_numbers_fit(model_path, learned, dtype):
    made = card_of(model_path).model_copy(update={"dtype": learned})
    card.check_bands(made, names(made), dtype, SCALES, "s.tif")


def test_bands_in_another_order_are_refused_with_both_orders(model_path):
    made = card_of(model_path)
    turned = names(made)[::-1]
    with pytest.raises(
        ModelError, match=rf"{', '.join(turned)} and the model takes {', '.join(names(made))}"
    ):
        card.check_bands(made, turned, made.dtype, SCALES, "s.tif")


def test_the_band_whose_scale_differs_is_named_with_both_values(model_path):
    made = card_of(model_path)
    scales = (1.0, 1.0, 1e-4, 1.0), (0.0, 0.0, -0.1, 0.0)
    with pytest.raises(ModelError, match=rf"0.0001 and offset -0.1 in {names(made)[2]} and .* on 1 and 0;"):
        card.check_bands(made, names(made), made.dtype, scales, "s.tif")


def test_the_time_of_a_card_can_be_set(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert card.now() == "1970-01-02T00:00:00Z"
