"""Shards, budgets, journals: the small parts that a run is put together from."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from satae.batch import budget, journal, places
from satae.batch.budget import Budget, bytes_of, cores
from satae.batch.journal import Journal
from satae.batch.shard import Shard, shard_of
from satae.errors import ConfigError, OutputError

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "environment", "number", "count"),
    [
        (None, {}, 0, 1),
        ("3/8", {}, 3, 8),
        (
            "auto",
            {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "1"},
            6,
            8,
        ),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "2", "AWS_BATCH_JOB_ARRAY_SIZE": "5"}, 2, 5),
        ("auto/4", {"JOB_COMPLETION_INDEX": "3"}, 3, 4),
        ("auto/6", {"COILED_BATCH_TASK_ID": "0"}, 0, 6),
    ],
)
def test_a_part_is_named_or_found_in_the_environment(
    text: str | None, environment: dict[str, str], number: int, count: int
) -> None:
    assert shard_of(text, environment) == Shard(number, count)


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("8/8", {}, "from 0 to 7"),
        ("0/0", {}, "0/0 is a part of none"),
        ("one", {}, "counted from 0"),
        ("-1/8", {}, "counted from 0"),
        ("auto", {}, "SLURM_ARRAY_TASK_ID"),
        ("auto", {"JOB_COMPLETION_INDEX": "3"}, "pass --shard auto/N"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "3"}, "part 3 of 3"),
    ],
)
def test_what_is_no_part_is_refused(text: str, environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        shard_of(text, environment)


def test_every_name_is_in_one_part_and_parts_are_about_as_large() -> None:
    names = [f"scene-{i}" for i in range(4000)]
    parts = [[n for n in names if Shard(i, 8).holds(n)] for i in range(8)]
    assert sorted(n for part in parts for n in part) == sorted(names)
    assert all(400 < len(part) < 600 for part in parts)  # 500, and a deviation of 21


@pytest.mark.parametrize(
    ("text", "amount"), [("8G", 8 * GIB), ("8", 8 * GIB), ("500M", 500 << 20), ("1.5gib", GIB * 3 // 2)]
)
def test_amounts_of_memory(text: str, amount: int) -> None:
    assert bytes_of(text) == amount


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "8GB8"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no amount"):
        bytes_of(text)


def test_a_budget_lowers_jobs_and_follows_what_scenes_take() -> None:
    assert Budget(8, 64 * GIB).slots == 8
    own = Budget(8, 4 * GIB)
    assert own.slots == 4 * GIB // budget.NEED == 6
    own.note(GIB * 3 // 2)
    own.note(GIB)
    assert own.slots == 2
    own.note(9 * GIB)
    assert own.slots == 1  # one always runs, or none would ever


def test_cores_are_those_that_a_container_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "GROUP", tmp_path)
    whole = cores()
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cores() == whole
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert cores() == 1
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB // 4}\n")
    assert budget.free_memory() == GIB * 3 // 4


def _append(out: Path, mark: str) -> None:
    diary = Journal(out, Shard())
    for i in range(300):
        diary.add("done", key=f"{mark}{i}", text="x" * 500)
    diary.close()


def test_lines_of_two_processes_do_not_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_append, args=(tmp_path, mark)) for mark in "ab"]
    for process in both:
        process.start()
    for process in both:
        process.join()
    # who opens it while the other is writing may take that line for a torn one, and end it: an empty line
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines if line]
    assert len(said) == 600 and len({s["key"] for s in said}) == 600


def test_the_last_word_on_a_scene_counts(tmp_path: Path) -> None:
    diary = Journal(tmp_path, Shard(1, 2))
    for state, key in (("failed", "a"), ("failed", "b"), ("again", "c"), ("done", "a"), ("failed", "d")):
        diary.add(state, key=key, code=2)
    diary.close()
    (tmp_path / "journal-0-of-2.jsonl").write_text('[1]\nnonsense\n{"state": "done", "key": "d"}\n{"sta')
    assert set(journal.failures(tmp_path)) == {"b", "d"}
    assert (tmp_path / "journal-1-of-2.jsonl").exists()


def test_who_comes_second_to_a_place_drops_what_it_has(tmp_path: Path) -> None:
    places.make(tmp_path)
    place = places.folder_of(tmp_path, "a", "key")
    for content in ("first", "second"):
        with places.part(tmp_path, "key") as folder:
            (folder / "x").write_text(content)
            places.settle(folder, place)
    assert (place / "x").read_text() == "first" and list((tmp_path / ".parts").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out, said in ((tmp_path / "no" / "out", "make it first"), (tmp_path / "file", "cannot be written")):
        with pytest.raises(OutputError, match=said):
            places.make(out)
