"""The report of a result, read as a browser would: what it says is in the layers, and no text becomes more."""

import base64
import hashlib
import math
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from rows import grid
from rows import layer as rows_of
from scenes import MakeScene
from scored import layer, run

from satae.demo import synthetic
from satae.errors import OutputError
from satae.inference import runtime
from satae.report import maps, words
from satae.report import page as report
from satae.scene.describe import describe
from satae.scoring.baseline import Baseline
from satae.scoring.rule import Far, Fdr, Rule, Threshold, Top

HOSTILE = """<img src=x onerror=alert(1)>&amp;"'</style><script>\u202e"""
CSS = (Path(report.__file__).with_suffix(".css")).read_text()
VOID = {"meta", "img", "input", "link", "br", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, the text of each, and whether they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, Any]]:
        return [
            a for t, a in self.tags if t == tag and (kind is None or kind in (a.get("class") or "").split())
        ]

    def facts(self) -> dict[str, str]:
        """The last text after each term."""
        found, last = {}, ""
        for tag, text in self.texts:
            if tag == "dt":
                last = text
            elif tag == "dd":
                found[last] = text
        return found

    @property
    def text(self) -> str:
        return " ".join(t for tag, t in self.texts if tag != "style")


def page(folder: Path, model: runtime.Model, *scenes: Any, **options: Any) -> tuple[Any, Page]:
    result = run(folder, model, *scenes, **options)
    assert result.report == folder / "out.html"
    return result, Page(result.report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made(
    scene_path: Path, model: runtime.Model, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Page]:
    folder = tmp_path_factory.mktemp("report")
    other = Baseline("again", model)
    return page(folder, model, describe([scene_path]), rule=Top(30), baseline=other)


def test_it_is_one_page_without_script_or_network(made: tuple[Any, Page]) -> None:
    _, found = made
    assert {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "form", "base"} == set()
    for _, attributes in found.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/png;base64,"))
    assert "url(" not in CSS and "@import" not in CSS


def test_its_policy_allows_its_own_style_and_inline_pictures_only(made: tuple[Any, Page]) -> None:
    _, found = made
    (policy,) = (a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    (style,) = (text for tag, text in found.texts if tag == "style")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_listed_regions_are_the_first_rows_of_the_layer_with_their_chips(made: tuple[Any, Page]) -> None:
    result, found = made
    frame = layer(result).sort_values("rank").head(report.LISTED)
    assert [a["id"] for a in found.all("li")] == [f"rank-{r}" for r in frame["rank"]]
    heads = [text for tag, text in found.texts if tag == "h3"]
    assert heads == [f"{r} · score {s:.2f}" for r, s in zip(frame["rank"], frame["score"], strict=True)]
    for image, chip in zip(found.all("img", "chip"), frame["chip"], strict=True):
        assert base64.b64decode(image["src"].partition(",")[2]) == (result.out.parent / chip).read_bytes()
    areas = re.findall(r"([\d,]+) m², (\d+) pixel", found.text)
    assert [(float(a.replace(",", "")), int(n)) for a, n in areas] == list(
        zip(frame["area_m2"], frame["pixels"], strict=True)
    )
    opinions = [text for text in re.findall(r"score (\d+\.\d\d), p-value", found.text)]
    assert opinions == [f"{s:.2f}" for s in frame["baseline_score"]]
    assert f"first {report.LISTED} of 30" in found.text


def test_peaks_are_where_the_layer_says(made: tuple[Any, Page], scene_path: Path) -> None:
    result, found = made
    places = re.findall(
        r"(-?[\d.]+), (-?[\d.]+) \(latitude, longitude\); row (\d+), column (\d+)", found.text
    )
    frame = layer(result).sort_values("rank").head(report.LISTED)
    with rasterio.open(scene_path) as dataset:
        for (lat, lon, row, col), anomaly in zip(places, frame["anomaly_id"], strict=True):
            assert anomaly == f"land-r{row}-c{col}"
            xs, ys = rasterio.warp.transform("EPSG:4326", dataset.crs, [float(lon)], [float(lat)])
            assert dataset.index(xs[0], ys[0]) == (int(row), int(col))


def test_outlines_lie_on_their_regions_and_lead_to_them(made: tuple[Any, Page]) -> None:
    result, found = made
    frame = layer(result).set_index("rank")
    unit = maps.SIDE / 320
    marks = [a["href"] for a in found.all("a")]
    assert marks == [f"#rank-{r}" for r in range(report.LISTED, 0, -1)]  # the first rank on top
    drawn: list[tuple[float, float, float, float]] = []
    for tag, a in found.tags:
        if tag == "path" and a["class"] != "casing":
            xy = np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", a["d"] or ""), float)
            drawn.append((*xy.min(axis=0), *xy.max(axis=0)))
        elif tag == "circle" and a["class"] != "casing":
            x, y, r = (float(a[k] or "nan") for k in ("cx", "cy", "r"))
            drawn.append((x - r, y - r, x + r, y + r))
    for box, rank in zip(drawn, range(30, 0, -1), strict=True):
        left, bottom, right, top = frame.geometry[rank].bounds
        true = [(left - 5e5) / 10, (5.2e6 - top) / 10, (right - 5e5) / 10, (5.2e6 - bottom) / 10]
        slack = maps.SMALLEST + 1 if max(true[2] - true[0], true[3] - true[1]) * unit < maps.SMALLEST else 3
        assert np.abs(np.array(box) - np.array(true) * unit).max() <= slack, rank


def test_the_pictures_of_the_scene_are_as_large_as_it_is(made: tuple[Any, Page]) -> None:
    scene, heat = (a["href"] for a in made[1].all("image"))
    shapes = []
    for data in (scene, heat):
        raw = np.frombuffer(base64.b64decode(data.partition(",")[2]), np.uint8)
        shapes.append(np.asarray(cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)).shape)
    assert shapes == [(256, 320, 3), (256, 320, 4)]


def test_it_says_how_the_result_came_about(made: tuple[Any, Page], model: runtime.Model) -> None:
    result, found = made
    facts, (scene,) = found.facts(), layer(result, "scenes").itertuples()
    assert facts["model sha256"] == scene.model_sha256 and facts["created"] == scene.created
    assert facts["scored by"] == "CPUExecutionProvider" and facts["satae"] == scene.satae_version
    for part in (Path(scene.path).name, "EPSG:32632", "10 m a pixel", scene.bands, f"domain {scene.domain}"):
        assert part in facts["scene land"]
    assert str(Path(scene.path).parent) not in found.text
    calibration = model.card.calibration
    assert calibration is not None
    assert f"{calibration.pixels:,} pixels in {calibration.blocks} block" in facts["held out"]
    region, pixel = calibration.region, calibration.pixel
    assert (
        f"scores of regions up to {region.reach:.1f} and heat of pixels up to {pixel.reach:.1f}"
        in facts["supported"]
    )
    shown = -np.log10(10 / region.independent)
    assert f"itself shows those up to {max(0, shown):.1f} and" in facts["supported"]
    least = calibration.least_rate(100.0, 4)
    assert facts["false alarms, land"] == f"rates from {least:,g} per 100 km² on are supported"
    assert facts.items() >= words.WORDS.items()


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Far(2000.0), "expected to give 2000 false alarms per 100 km²"),
        (Fdr(0.3), "a share of 0.3 of them is expected to be false"),
        (Top(2), "The 2 highest regions of each scene were asked for"),
        (Threshold(3.5), "heat reaches a fixed value of 3.5"),
    ],
    ids=str,
)
def test_each_rule_is_explained(
    scene_path: Path, model: runtime.Model, tmp_path: Path, rule: Rule, said: str
) -> None:
    result, found = page(tmp_path, model, describe([scene_path]), rule=rule)
    assert said in found.text
    for remark in (*result.scenes[0].remarks, str(result.scenes[0].doubt or "")):
        assert remark in found.text


def test_hostile_names_stay_text(
    make_scene: MakeScene,
    landscape: synthetic.Synthetic,
    model: runtime.Model,
    made: tuple[Any, Page],
    tmp_path: Path,
) -> None:
    path = make_scene(landscape.image, nodata=0, name=f"{HOSTILE.replace('/', '')}.tif")
    with rasterio.open(path, "r+") as dataset:
        for i in range(1, 5):
            dataset.set_band_description(i, f"{HOSTILE}{i}")
    _, found = page(tmp_path, model, describe([path]), rule=Top(30))
    ours, plain = Counter(tag for tag, _ in found.tags), Counter(tag for tag, _ in made[1].tags)
    assert set(ours) == set(plain) and ours["img"] == plain["img"] and ours["style"] == 1
    shown = HOSTILE.replace("\u202e", "\\x202e")
    (about,) = (value for name, value in found.facts().items() if name.startswith("scene "))
    assert shown.replace("/", "") + ".tif" in about and f"bands {shown}1" in about


def test_foreign_scenes_have_a_note(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model, tmp_path: Path
) -> None:
    image = landscape.image.copy()
    # each pixel brighter or darker by itself, in every band
    grain = np.random.default_rng(0).uniform(0.3, 1.7, (4, int(landscape.valid.sum())))
    image[:, landscape.valid] = image[:, landscape.valid] * grain
    result, found = page(tmp_path, model, describe([make_scene(image, nodata=0)]))
    if not result.scenes[0].verdict.foreign:
        pytest.fail("the scene should be foreign to the model")
    assert any("foreign to the model" in text for _, text in found.texts) and found.all("p", "note")
    assert "No region is reported." in found.text and not found.all("li")


def test_a_scene_without_a_valid_pixel_and_one_without_a_crs_have_reports(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model, tmp_path: Path
) -> None:
    _, empty = page(tmp_path, model, describe([make_scene(np.zeros((4, 40, 50), "uint16"), nodata=0)]))
    assert "no pixel is valid" in empty.text and "0.0% of the scene scored" in empty.text
    scene = describe([make_scene(landscape.image, nodata=0, crs=None)])
    _, bare = page(tmp_path, model, scene, rule=Top(3), overwrite=True)
    assert "no CRS" in bare.text and "per 10 megapixels on" in bare.text and "latitude" not in bare.text
    assert "m², " not in bare.text


def test_many_regions_and_scenes_keep_it_small(
    scene_path: Path, model: runtime.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "PICTURES", 2)
    monkeypatch.setattr(report, "NAMED", 2)
    monkeypatch.setattr(report, "OUTLINED", 40)
    scenes = [describe([scene_path])] * 3
    result, found = page(tmp_path, model, *scenes, rule=Top(40), chips=200)
    assert len(layer(result)) == 120 and len(found.all("li")) == len(found.all("img")) == report.LISTED
    assert len(found.all("svg", "map")) == 2 and found.facts()["scenes not listed"] == "1"
    outlines = [a for t, a in found.tags if t in ("path", "circle") and a.get("class") == "casing"]
    assert 2 * 40 / 3 - 1 <= len(outlines) <= 40
    assert result.report.stat().st_size < 2e6


@pytest.mark.parametrize(
    ("score", "number"), [(0.0, 0), (2.0, 1), (5.9, 3), (7_920_656.0, 4), (math.inf, 4), (math.nan, 0)]
)
def test_every_score_has_a_class_of_colour(score: float, number: int) -> None:
    assert maps.class_of(score) == number


def test_overviews_of_many_scenes_share_the_area_of_one() -> None:
    assert report.cells(1) == 1000 and report.cells(4) == 500
    assert report.cells(10_000) ** 2 * report.PICTURES <= 1000**2


def test_chips_0_leaves_numbers_without_pictures(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    _, found = page(tmp_path, model, describe([scene_path]), rule=Top(3), chips=0)
    assert len(found.all("li")) == 3 and not found.all("img")


def test_what_a_reviewer_and_feedback_said_is_shown() -> None:
    row = replace(rows_of(grid(), scores=(2.0,)).regions[0], area_m2=400.0, pixels=4, spectral_share=0.25)
    said = replace(row, review_status="accepted", review_label="ship", review_note="at anchor", feedback=-0.5)
    facts = report._numbers(said, "here")
    assert facts["review"] == "accepted · ship · at anchor" and facts["feedback"].startswith(
        "-0.50 on the score"
    )
    assert facts["it differs in"] == "25% colour, 75% texture or outline" and facts["p-value"] == "0.01"
    assert not {"review", "feedback"} & set(report._numbers(row, ""))


def test_a_page_that_satae_did_not_write_is_never_replaced(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    (tmp_path / "out.html").write_text("<h1>my notes")
    with pytest.raises(OutputError, match=r"out.html is a page that satae did not write; move it away"):
        run(tmp_path, model, describe([scene_path]), overwrite=True)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["<h1>my notes"]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_wcag_aa_in_light_dark_and_print() -> None:
    themes = [
        dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", CSS, re.S)
    ]
    assert len(themes) == 3 and contrast("#000000", "#ffffff") == pytest.approx(21)
    for theme in themes:
        for ground in ("--paper", "--panel"):
            for ink in ("--ink", "--muted", "--link"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)
            assert contrast(theme["--bar"], theme[ground]) >= 3
        assert contrast(theme["--note-ink"], theme["--note"]) >= 4.5


def test_a_browser_shows_it_without_breaking_its_policy(made: tuple[Any, Page], tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    shot = tmp_path / "shot.png"
    words = [
        "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={tmp_path}/profile", "--window-size=390,1500", f"--screenshot={shot}",
        made[0].report.as_uri(),
    ]  # fmt: skip
    done = subprocess.run([chromium, *words], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr and "Content Security Policy" not in done.stderr
    picture = cv2.imread(str(shot))
    assert picture is not None and picture.shape == (1500, 390, 3)
    assert (picture[-1] == [255, 255, 255]).all() or picture.std() > 20
    saturated = (picture.max(axis=2).astype(int) - picture.min(axis=2)) > 60
    assert saturated.mean() > 0.02  # outlines, landscape and key: the style and the pictures were let through
