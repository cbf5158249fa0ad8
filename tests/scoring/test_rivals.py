"""Runs beside each other, and beside a reviewer: every name that is written is locked, nothing acknowledged is lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from commands import SATAE
from results import opinions
from reviewing import reviewing, told
from scored import layer, run

from satae.errors import ConfigError, OutputError
from satae.inference import runtime
from satae.publish import _prefix, check_target, locks
from satae.scene.describe import describe
from satae.scoring import outputs
from satae.scoring.rule import Threshold
from satae.scoring.run import Result

LOW, HIGH = Threshold(2.0), Threshold(2.6)


def names(out: Path) -> set[str]:
    return {p.name for p in outputs.names(out, outputs.heatmap_targets(out, ["land"], None))}


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_every_name_that_a_run_writes_is_one_that_it_locks(
    scene_path: Path, model: runtime.Model, model_path: Path, tmp_path: Path, suffix: str
) -> None:
    for rule in (LOW, HIGH):
        result = run(
            tmp_path, model, describe([scene_path]), name=f"a{suffix}", rule=rule, chips=3, stac=model_path,
            overwrite=True,
        )  # fmt: skip
    assert {p.name for p in tmp_path.iterdir()} <= names(result.out)


def test_a_run_whose_output_differs_in_suffix_is_refused_and_takes_nothing_away(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    first = tmp_path / "a.gpkg"
    with locks(outputs.names(first, outputs.heatmap_targets(first, ["land"], None))):
        staged = Path(tempfile.mkdtemp(prefix=_prefix(tmp_path / "a_chips"), dir=tmp_path))
        with pytest.raises(
            OutputError, match=r"another satae is writing .*a\.html; wait for it to end, or choose"
        ):
            run(tmp_path, model, describe([scene_path]), name="a.geojson", rule=LOW)
        assert staged.is_dir()
        run(tmp_path, model, describe([scene_path]), name="b.geojson", rule=LOW, chips=2)
    assert {p.name for p in tmp_path.iterdir()} <= names(tmp_path / "b.geojson")


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.gpkg", "a.geojson"), ("a.gpkg", "a.html"), ("a.fgb", "a_chips"), ("a.gpkg", "a_heatmap.qml")],
)
def test_what_two_runs_both_write_is_seen_by_its_name(tmp_path: Path, one: str, other: str) -> None:
    first, second = (outputs.names(tmp_path / n, [tmp_path / "a_heatmap.tif"]) for n in (one, other))
    with (
        locks(first),
        pytest.raises(OutputError, match="another satae is writing"),
        locks([tmp_path / other, *second]),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_as_many_locks_as_there_are_outputs_can_be_held(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from satae.publish import locks\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "with locks(Path(sys.argv[1]) / str(i) for i in range(300)): print(len(list(Path(sys.argv[1]).iterdir())))"
    )
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 600:
        pytest.skip("the system lets nobody have that many files")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "300\n" and list(tmp_path.iterdir()) == []


def test_of_two_processes_on_one_output_one_writes_it_whole(
    scene_path: Path, model_path: Path, tmp_path: Path
) -> None:
    words = ("score", scene_path, "--model", model_path, "--out", "a.gpkg", "--workers", 1, "--threshold", 2)
    both = [
        subprocess.Popen([*SATAE, *map(str, words)], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 3]
    assert "a.gpkg" in next(e for e, p in zip(errors, both, strict=True) if p.returncode).splitlines()[-1]
    assert len(opinions(tmp_path / "a.gpkg")) > 10 and not list(tmp_path.glob(".*"))


def test_every_decision_that_was_acknowledged_while_a_scene_was_scored_again_is_there(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    def scored() -> Result:
        return run(tmp_path, model, describe([scene_path]), rule=LOW, chips=0, overwrite=True)

    out, stop = scored().out, tmp_path / "stop"
    with reviewing(out, stop) as process:
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reader.start()
        for _ in range(2):
            result, before = scored(), len(lines)
            while len(lines) < before + 3:
                assert process.poll() is None
        stop.touch()
        reader.join()
    assert not [line for line in lines if "refused" in line]
    found = layer(result).set_index("rank")["review_note"]
    assert {rank: int(found[rank]) for rank in told(lines)} == told(lines) and len(told(lines)) > 10


def test_a_link_is_not_written_through(scene_path: Path, model: runtime.Model, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    result = run(tmp_path / "real", model, describe([scene_path]), rule=LOW, chips=0)
    before = result.out.read_bytes()
    for name, place in (
        ("a.gpkg", result.out),
        ("a.gpkg", tmp_path / "nowhere.gpkg"),
        ("a_heatmap.tif", result.out),
    ):
        (tmp_path / name).symlink_to(place)
        with pytest.raises(
            OutputError, match=f"{name} is a link to .*; name that file itself, or remove the link"
        ):
            run(tmp_path, model, describe([scene_path]), name="a.gpkg", rule=LOW, overwrite=True)
        (tmp_path / name).unlink()
    assert result.out.read_bytes() == before
    (tmp_path / "folder").symlink_to("real")  # a folder elsewhere is as good as any
    run(tmp_path / "folder", model, describe([scene_path]), rule=LOW, chips=0, overwrite=True)
    check_target(tmp_path / "folder" / "other.gpkg", overwrite=False)


def test_one_folder_may_have_two_names(scene_path: Path, model: runtime.Model, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").symlink_to("x")
    made = run(tmp_path / "x" / "..", model, describe([scene_path]), rule=LOW, heatmap=tmp_path / "h.tif")
    assert {p.name for p in tmp_path.iterdir()} == {
        "x",
        "y",
        "out.gpkg",
        "out.html",
        "out_chips",
        "h.tif",
        "h.qml",
    }
    assert layer(made)["chip"].iloc[0].startswith("out_chips/")
    with pytest.raises(ConfigError, match="must lie in the folder of"):
        run(
            tmp_path / "y" / "..",
            model,
            describe([scene_path]),
            name="b.gpkg",
            heatmap=tmp_path / "x" / "h.tif",
        )


def test_a_result_on_another_file_system(scene_path: Path, model: runtime.Model, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system to write to")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        for _ in range(2):
            run(Path(folder), model, describe([scene_path]), rule=LOW, chips=2, overwrite=True)
        assert {p.name for p in Path(folder).iterdir()} <= names(Path(folder) / "out.gpkg")


def test_images_and_items_of_others_are_not_replaced(
    scene_path: Path, model: runtime.Model, model_path: Path, tmp_path: Path
) -> None:
    how = {"rule": LOW, "chips": 0, "overwrite": True, "stac": model_path}
    for name, content in (
        ("a_heatmap.tif", scene_path.read_bytes()),
        ("a_stac.json", b'{"type": "Feature"}'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            OutputError, match=rf"{name} is .* that satae did not write; move it away, or choose"
        ):
            run(tmp_path, model, describe([scene_path]), name="a.gpkg", **how)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {name: content}
        (tmp_path / name).unlink()
    for _ in range(2):
        run(tmp_path, model, describe([scene_path]), name="a.gpkg", **how)
