"""What `score` says when it is done, for people and for programs."""

import json
import math
from dataclasses import replace
from pathlib import Path

from satae.scoring import summary
from satae.scoring.domain import Verdict
from satae.scoring.run import Result, SceneResult
from satae.scoring.support import Doubt, of_kinds

FOREIGN = Verdict("foreign", "9 of 9 sampled tiles score as hardly any of training does")


def scene(name: str, count: int, verdict: Verdict, agrees: int | None = None) -> SceneResult:
    threshold = 3.5 if count else math.inf
    return SceneResult(
        name, f"{name}.tif", Path(f"{name}_heatmap.tif"), count, threshold, 0.5, verdict, [], agrees
    )


def result(*scenes: SceneResult, baseline: str | None = None, drawn: int = 0) -> Result:
    chips = Path("out_chips") if drawn else None
    return Result(Path("out.gpkg"), Path("out.html"), list(scenes), "CPU", chips, drawn, baseline)


def test_things_are_counted_in_english() -> None:
    assert [summary.quantity(n, "anomaly") for n in (0, 1, 2)] == ["0 anomalies", "1 anomaly", "2 anomalies"]


def test_lines_name_all_that_was_written_and_how_far_the_baseline_agrees() -> None:
    scenes = scene("a", 3, Verdict("same"), 2), scene("b", 0, FOREIGN, 0)
    lines = summary.lines(result(*scenes, baseline="rx", drawn=1), "far 10")
    assert lines == [
        "out.gpkg: 3 anomalies in 2 scenes (far 10, CPU)",
        "a_heatmap.tif: 3 anomalies from a heat of 3.5 on, 50.0% of a scored",
        "b_heatmap.tif: 0 anomalies, 50.0% of b scored",
        "out_chips: 1 chip",
        "out.html: report, opens in any browser",
        "baseline rx agrees on 2 of 3 anomalies: as rare to it as the weakest reported",
    ]


def test_a_remark_names_the_scenes_that_it_is_true_of() -> None:
    """One scene of two kinds is no two scenes."""

    def said(*held: tuple[str, str, bool]) -> str:
        """The remark on results of (file, kind) that it is true of, beside others."""
        scenes = [
            replace(scene(name if kind == "object" else f"{name}-area", 1, Verdict()), path=name, kind=kind)
            for name, kind, _ in held
        ]
        told = [replace(s, remarks=["low"] * true) for s, (_, _, true) in zip(scenes, held, strict=True)]
        (line,) = summary.remarks(result(*told))
        return line

    assert said(("a", "object", True)) == "a: low"
    assert said(("a", "object", True), ("b", "object", True)) == "all 2 scenes: low"
    assert said(("a", "object", True), ("b", "object", False)) == "a: low"
    assert said(("a", "object", True), ("a", "area", True)) == "objects and areas in a: low"
    assert said(("a", "object", False), ("a", "area", True)) == "areas in a: low"
    both = [(name, kind, True) for name in "ab" for kind in ("object", "area")]
    assert said(*both) == "objects and areas in all 2 scenes: low"
    assert said(*[(name, kind, kind == "area") for name, kind, _ in both]) == "areas in all 2 scenes: low"
    assert said(*both[:3], ("b", "area", False)) == "a, a-area, b: low"


def test_each_kind_has_a_doubt_of_its_own() -> None:
    """Two models have two samples: what one cannot tell is no word on the other."""
    few, fewer = (Doubt((f"{n}",), "a sample", float(n)) for n in (2, 3))
    objects, areas = replace(scene("a", 1, Verdict()), doubt=few), scene("a-area", 1, Verdict())
    areas = replace(areas, path="a.tif", kind="area", doubt=fewer)
    assert summary.remarks(result(objects, areas)) == [f"objects in a: {few}", f"areas in a: {fewer}"]
    assert of_kinds([("object", few), ("area", None)]) == [f"objects: {few}"]
    assert of_kinds([("object", few), ("object", fewer)]) == [str(fewer)]


def test_the_object_is_json_without_infinities() -> None:
    content = summary.content(result(scene("a", 0, FOREIGN)), "top 1")
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["threshold"] is None and content["chips"] is None and content["baseline"] is None
    assert content["scenes"][0]["domain"] == "foreign" and content["scenes"][0]["domain_note"] == FOREIGN.note
    assert content["scenes"][0]["baseline_agrees"] is None


def test_one_threshold_a_scene_where_there_are_several() -> None:
    scenes = scene("a", 3, Verdict()), scene("b", 0, Verdict())
    assert summary.content(result(*scenes), "far 10")["threshold"] == [3.5, None]


def test_a_format_of_one_layer_and_an_item_are_said() -> None:
    made = replace(result(scene("a", 1, Verdict())), out=Path("out.fgb"), stac=Path("out_stac.json"))
    first, *_, last = summary.lines(made, "top 1")
    assert first.endswith("; the anomalies layer alone, without tiles, scenes and styles")
    assert last.startswith("out_stac.json: STAC Item")
    assert summary.content(made, "top 1")["stac"] == "out_stac.json"
