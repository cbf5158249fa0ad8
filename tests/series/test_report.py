"""The report of a series, read as a browser would: it needs nothing else, and no name in it becomes more than text."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import places
import pyogrio
import pytest

from satae.errors import OutputError
from satae.series import report

VOID = {"meta", "img", "input", "link", "br", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, and the text of each; tags nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] != "style":
            self.texts.append((self.open[-1], data))

    def all(self, tag, kind=None):
        return [
            a for t, a in self.tags if t == tag and (kind is None or kind in (a.get("class") or "").split())
        ]


def page(out):
    return Page(out.with_suffix(".html").read_text())


def test_each_region_has_its_dates_and_its_plots(tmp_path):
    out = places.scored(tmp_path)
    layer, found = pyogrio.read_dataframe(out, layer="changes"), page(out)
    assert len(layer) >= 2
    assert [a["id"] for a in found.all("li") if "id" in a] == [f"rank-{i}" for i in layer["rank"]]
    courses = pyogrio.read_dataframe(out, layer="courses")
    panels = courses[courses.panel >= 0].drop_duplicates(["change_id", "panel"])
    shots = found.all("img", "shot")
    assert len(shots) == len(panels)
    assert len(found.all("svg", "course")) == len(layer) * 3  # bands
    # the first pictures are the first region's, by date, and carry their days as text
    first = panels[panels.change_id == layer.change_id[0]].sort_values("panel")
    for shot, (_, row) in zip(shots, first.iterrows(), strict=False):
        assert shot["alt"] == f"{str(row.date)[:10]} {row.role}".strip()
        raw = np.frombuffer(base64.b64decode(shot["src"].partition(",")[2]), np.uint8)
        assert cv2.imdecode(raw, cv2.IMREAD_COLOR).shape == (int(shot["height"]), int(shot["width"]), 3)
    assert {a["href"] for a in found.all("a")} == {f"#rank-{i}" for i in layer["rank"]}
    text = " ".join(t for _, t in found.texts)
    way = {"up": "brighter", "down": "darker"}[layer.direction[0]]
    assert f"{way} in {layer.top_band[0]} since {str(layer.first_date[0])[:10]}" in text
    assert "median" in text and "false alarms per km² and year" in text


def test_nothing_is_asked_for_and_the_policy_forbids_it(tmp_path):
    found = page(places.scored(tmp_path))
    for _, attributes in found.tags:
        for name in ("src", "href", "srcset", "data", "style", "onload", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), (
                name,
                attributes,
            )
    assert not {t for t, _ in found.tags} & {"script", "link", "iframe", "object", "form"}
    text = next(tmp_path.glob("*.html")).read_text()
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [a["content"] for a in found.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data:") and f"sha256-{digest}" in policy
    assert "url(" not in style and "@import" not in style


def test_names_from_elsewhere_are_text(tmp_path):
    hostile = "<img src=x onerror=alert(1)>&amp;"
    out = places.scored(tmp_path, bands=("green", "red", hostile))
    found = page(out)
    assert any(hostile in t for _, t in found.texts)
    assert all(a.get("src", "data:").startswith("data:") for a in found.all("img"))


def test_a_place_without_a_change_says_so(tmp_path):
    out = places.scored(tmp_path, least=1000)
    assert len(pyogrio.read_dataframe(out, layer="changes")) == 0
    assert len(pyogrio.read_dataframe(out, layer="courses")) == 0
    found = page(out)
    assert any("Nothing changed" in t for _, t in found.texts) and not found.all("img", "shot")


def test_the_map_shows_the_last_that_was_seen(tmp_path):
    found = page(places.scored(tmp_path))
    (image,) = [a for a in found.all("image")]
    raw = np.frombuffer(base64.b64decode(image["href"].partition(",")[2]), np.uint8)
    drawn = cv2.imdecode(raw, cv2.IMREAD_COLOR).astype(int)
    assert drawn.shape == (32, 32, 3)
    # the changed block stands out from the ground around it; the corner is under a cloud on the last date alone
    block, around = drawn[places.BLOCK], np.delete(drawn, np.r_[8:16], axis=0)
    assert np.abs(block.mean(axis=(0, 1)) - around.mean(axis=(0, 1))).max() > 40
    assert not (drawn[:4, :4] == 128).all()


def test_what_others_wrote_is_not_replaced_and_ours_is(tmp_path):
    out = places.scored(tmp_path)
    places.scored(tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="--overwrite"):
        places.scored(tmp_path)
    (tmp_path / "changes_chips" / "mine.txt").write_text("kept")
    with pytest.raises(OutputError, match=r"mine\.txt, which satae did not write"):
        places.scored(tmp_path, overwrite=True)
    (tmp_path / "changes_chips" / "mine.txt").unlink()
    out.with_suffix(".html").write_text("<p>my page</p>")
    with pytest.raises(OutputError, match="did not write"):
        places.scored(tmp_path, overwrite=True)
    assert out.with_suffix(".html").read_text() == "<p>my page</p>"


def test_a_report_that_fails_leaves_the_layers(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(report, "_map", lambda *_: 1 / 0)
    out = places.scored(tmp_path)
    assert "the report changes.html could not be made" in caplog.text
    assert len(pyogrio.read_dataframe(out, layer="changes")) and not out.with_suffix(".html").exists()
