"""Outputs are complete or absent: locks, signals, kills, full disks and folders that cannot be written."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from commands import SATAE, halfway, started
from faults import contents
from scenes import MakeScene

from satae.errors import OutputError
from satae.publish import _prefix, check_target, lock, publish, staging, write_bytes

OUTPUTS = ("out.gpkg", "out_heatmap.tif", "out_heatmap.qml", "out.html")
OLD = b'old, <meta name="generator" content="satae 0">'  # of a page that is ours to replace


def test_a_target_is_replaced_in_one_step_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    write_bytes(tmp_path / "a", b"new")
    assert contents(tmp_path) == {"a": b"new"}


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    old, new = tmp_path / "set", tmp_path / "draft"
    for folder, name in ((old, "tileset.json"), (new, "other")):
        folder.mkdir()
        (folder / name).touch()
    with staging(old) as folder:
        publish(new.rename(folder / "draft"), old)
    assert contents(tmp_path) == {"set/other": b""}


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()]
)
def test_staging_is_removed_whatever_happens(tmp_path: Path, failure: BaseException) -> None:
    expected = OutputError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected), staging(tmp_path / "a") as folder:
        (folder / "draft").touch()
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_a_missing_input_is_not_taken_for_a_failed_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staging(tmp_path / "a"):
        (tmp_path / "elsewhere").read_bytes()


@pytest.mark.parametrize("side", ["-journal", "-wal", "-shm"])
def test_side_files_of_an_open_database_are_refused(tmp_path: Path, side: str) -> None:
    (tmp_path / f"a.gpkg{side}").touch()
    with pytest.raises(OutputError, match=f"a.gpkg{side} exists"):
        check_target(tmp_path / "a.gpkg", overwrite=True)


def test_foreign_folders_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(OutputError, match="a folder that satae did not write"):
        check_target(tmp_path / "photos", overwrite=True)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"there is no folder .*nowhere; make it first"):
        check_target(tmp_path / "nowhere" / "a.gpkg", overwrite=False)


HOLD = """
import sys, pathlib
from satae.publish import lock
with lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_only_one_process_writes_a_target_and_a_dead_one_blocks_nobody(tmp_path: Path) -> None:
    target = tmp_path / "a.gpkg"
    command = [sys.executable, "-c", HOLD, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=r"another satae is writing .*a\.gpkg"), lock(target):
            pass
        holder.kill()
    with lock(target):
        pass
    assert list(tmp_path.iterdir()) == []


def large_scene(make_scene: MakeScene) -> Path:
    """A scene that takes a few seconds to score."""
    image = np.random.default_rng(0).integers(300, 3000, (4, 1500, 1500)).astype("uint16")
    return make_scene(image, name="large.tif", tiled=True, blockxsize=256, blockysize=256)


def older(tmp_path: Path) -> Path:
    """A folder with an older result, as bytes that a run must not change."""
    for name in OUTPUTS:
        (tmp_path / name).write_bytes(f"{name} ".encode() + OLD)
    with closing(sqlite3.connect(tmp_path / "kept.gpkg")) as database, database:
        database.execute("CREATE TABLE t (x)")
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_score_leaves_everything_as_it_was(
    tmp_path: Path, make_scene: MakeScene, model_path: Path, number: signal.Signals
) -> None:
    folder = older(tmp_path)
    large = large_scene(make_scene)
    before = contents(folder)
    words = ("score", large, "--model", model_path, "--out", "out.gpkg", "--overwrite", "--workers", 1)
    process = started(folder, *words, ready=halfway(folder))
    process.send_signal(number)
    out, error = process.communicate(timeout=10)
    assert (process.returncode, out) == (128 + number, "")
    assert error.splitlines()[-1] == "interrupted; nothing was replaced"
    assert contents(folder) == before and not list(folder.glob(".*"))


def test_a_killed_score_leaves_the_old_result_and_the_next_run_succeeds(
    tmp_path: Path, make_scene: MakeScene, scene_path: Path, model_path: Path
) -> None:
    folder = older(tmp_path)
    large = large_scene(make_scene)
    before = {name: (folder / name).read_bytes() for name in OUTPUTS}
    words = ("--model", model_path, "--out", "out.gpkg", "--overwrite", "--workers", 1)
    process = started(folder, "score", large, *words, ready=halfway(folder))
    process.kill()
    process.communicate()
    assert {name: (folder / name).read_bytes() for name in OUTPUTS} == before
    again = subprocess.run([*SATAE, "score", scene_path, *map(str, words)], cwd=folder, capture_output=True)
    assert again.returncode == 0
    with closing(sqlite3.connect(folder / "out.gpkg")) as database:
        assert database.execute("SELECT count(*) FROM scenes").fetchone() == (1,)


def test_an_interrupted_training_keeps_the_old_model_and_can_go_on(tmp_path: Path, tile_set: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"old")
    words = ("train", tile_set, "--out", "m.onnx", "--overwrite", "--epochs", 5000, "--device", "cpu")
    changes = "model.name=conv", "model.params.width=8", "train.min_steps=2", "train.patience=5000"
    small = [word for change in changes for word in ("--set", change)]
    run = tmp_path / "runs" / "m"
    process = started(
        tmp_path,
        *words,
        *small,
        ready=lambda: (run / "checkpoint.pt").exists() and not [*run.glob(".satae-*")],
    )
    process.terminate()
    out, error = process.communicate(timeout=10)
    assert (process.returncode, out) == (128 + signal.SIGTERM, ""), error
    assert (tmp_path / "m.onnx").read_bytes() == b"old" and "Traceback" not in error
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]
    assert set(contents(tmp_path / "runs" / "m")) == {"config.yaml", "history.jsonl", "checkpoint.pt"}


def test_what_an_interrupt_leaves_of_a_target_goes_with_its_lock(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    with pytest.raises(KeyboardInterrupt), lock(target):
        tempfile.mkdtemp(prefix=_prefix(target), dir=tmp_path)  # a signal before staging's block begins
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def failed(done: subprocess.CompletedProcess[str]) -> None:
    """Exit 3 with one sentence and no traceback."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 3 and done.stdout == "", done.stderr
    assert len(errors) == 1 and "Traceback" not in done.stderr


def scored(
    folder: Path, scene: Path, model: Path, limit: int | None = None
) -> subprocess.CompletedProcess[str]:
    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [*SATAE, "score", str(scene), "--model", str(model), "--out", "out.gpkg", "--overwrite"]
    return subprocess.run(
        [*command, "--workers", "1"], cwd=folder, capture_output=True, text=True, preexec_fn=limited
    )


@pytest.mark.parametrize("limit", [1_000, 60_000, 150_000])
def test_a_file_size_limit_is_reported_and_keeps_old_outputs(
    tmp_path: Path, scene_path: Path, model_path: Path, limit: int
) -> None:
    folder = older(tmp_path)
    before = contents(folder)
    failed(scored(folder, scene_path, model_path, limit))
    assert contents(folder) == before and not list(folder.glob(".*"))


@contextmanager
def mounted(place: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of a few hundred kB."""
    place.mkdir()
    mount = shutil.which("mount") or "mount"
    size = f"size={kilobytes}k"
    if subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("kilobytes", [16, 128, 300])
def test_a_full_disk_is_reported_and_keeps_old_outputs(
    tmp_path: Path, scene_path: Path, model_path: Path, kilobytes: int
) -> None:
    with mounted(tmp_path / "disk", kilobytes) as disk:
        for name in OUTPUTS:
            (disk / name).write_bytes(OLD)
        failed(scored(disk, scene_path, model_path))
        assert contents(disk) == {name: OLD for name in OUTPUTS}
        assert not list(disk.glob(".*"))


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, scene_path: Path, model_path: Path
) -> None:
    folder = older(tmp_path)
    powerless = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    if powerless and shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and there is no setpriv")
    before = contents(folder)
    folder.chmod(0o555)
    command = [*powerless, *SATAE, "score", str(scene_path), "--model", str(model_path), "--out", "out.gpkg"]
    done = subprocess.run([*command, "--overwrite"], cwd=folder, capture_output=True, text=True)
    folder.chmod(0o755)
    failed(done)
    assert "is read-only" in done.stderr and contents(folder) == before


def test_what_killed_runs_left_is_swept_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "a.gpkg"
    with staging(target) as folder:
        shutil.copytree(folder, tmp_path / f"{folder.name}x")
    with lock(target):
        assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


def test_a_folder_lost_between_two_renames_is_put_back(tmp_path: Path) -> None:
    target = tmp_path / "tiles"
    with staging(target) as folder:
        left = tmp_path / f"{folder.name}x"
    (left / "retired" / "tiles").mkdir(parents=True)
    (left / "retired" / "tiles" / "tileset.json").touch()
    with lock(target):
        assert (target / "tileset.json").exists() and not left.exists()


def test_a_name_to_which_no_lock_and_no_draft_could_be_added_is_refused(tmp_path: Path) -> None:
    check_target(tmp_path / ("x" * 200), overwrite=False)
    with pytest.raises(OutputError, match=r"has a name of 250 bytes, \d+ too many"):
        check_target(tmp_path / ("ä" * 125), overwrite=False)


KILLED = """
import os, pathlib, sys
from satae.publish import lock, publish_all, staging
folder, number, calls = pathlib.Path(sys.argv[1]), int(sys.argv[2]), []
replace = os.replace

def dying(*names):
    calls.append(names)
    replace(*names)
    if len(calls) == number:
        os._exit(9)

os.replace = dying
with lock(folder / "c"), staging(folder / "c") as drafts:
    for name in "abc":
        (drafts / name).write_text("new")
    publish_all([(drafts / name, folder / name) for name in "abc"])
"""


@pytest.mark.parametrize(("number", "left"), [(1, "old"), (2, "old"), (3, "late")])
def test_what_a_killed_run_had_put_in_place_comes_back_unless_all_was(
    tmp_path: Path, number: int, left: str
) -> None:
    """Once the last output has its name others may write to it: an older one must not come back over that."""
    for name in "abc":
        (tmp_path / name).write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(number)])
    assert done.returncode == 9 and (tmp_path / "a").read_text() == "new"
    if number == 3:
        (tmp_path / "c").write_text("late")
    with lock(tmp_path / "c"):
        pass
    others = "new" if number == 3 else "old"
    assert contents(tmp_path) == {"a": others.encode(), "b": others.encode(), "c": left.encode()}
