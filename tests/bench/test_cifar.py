"""CIFAR-10 as distributed, in both formats, from folders and archives; what is damaged or absent is said."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archives import batches, write_binary, write_python

from satae.bench import cifar
from satae.bench.cifar import BATCHES, CLASSES
from satae.errors import DataError

NAMED = {"cifar-10-batches-bin": write_binary, "cifar-10-batches-py": write_python}


def tarred(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def test_a_record_is_a_class_and_three_planes_from_the_top_left() -> None:
    content = bytes([7]) + bytes([1] * 1024 + [2] * 1024) + bytes(range(256)) * 4
    images, classes = cifar.binary(content, "f")
    assert images.shape == (1, 3, 32, 32) and classes.tolist() == [7]
    assert (images[0, 0] == 1).all() and (images[0, 1] == 2).all()
    assert images[0, 2, 0].tolist() == list(range(32)) and images[0, 2, 1, 0] == 32


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_both_formats_hold_what_was_written(tmp_path: Path, name: str, packed: bool) -> None:
    made = batches(12)
    NAMED[name](tmp_path / name, made)
    found = cifar.read(tarred(tmp_path / name, tmp_path / "a.tar.gz") if packed else tmp_path / name)
    assert np.array_equal(found.train, np.concatenate([made[b][0] for b in BATCHES[:5]]))
    assert np.array_equal(found.train_classes, np.concatenate([made[b][1] for b in BATCHES[:5]]))
    assert np.array_equal(found.test, made["test_batch"][0])
    assert np.array_equal(found.test_classes, made["test_batch"][1])


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_python_batches_of_any_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    write_python(tmp_path, batches(3), protocol)
    assert cifar.read(tmp_path).train.shape == (15, 3, 32, 32)


def test_a_folder_above_the_batches_or_the_archive_does(tmp_path: Path) -> None:
    made = batches(4)
    write_binary(tmp_path / "one" / "cifar-10-batches-bin", made)
    (tmp_path / "two").mkdir()
    tarred(tmp_path / "one" / "cifar-10-batches-bin", tmp_path / "two" / "cifar-10-binary.tar.gz")
    assert np.array_equal(cifar.read(tmp_path / "one").test, cifar.read(tmp_path / "two").test)


def _exploit(mark: Path) -> bytes:
    return b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda content: b"", "is no pickle"),
        (_cut, "is no pickle"),
        (lambda _: pickle.dumps([1]), "holds no dictionary"),
        (lambda _: pickle.dumps({"data": [1], "labels": [1]}), "no array data of n x 3072"),
        (
            lambda _: pickle.dumps({"data": np.zeros((2, 9), "u1"), "labels": [1, 2]}),
            "no array data of n x 3072",
        ),
        (lambda _: pickle.dumps({"data": np.zeros((2, 3072), "u1"), "labels": [1]}), "each of its 2 images"),
        (
            lambda _: pickle.dumps({"data": np.zeros((1, 3072), "u1"), "labels": [10]}),
            "no number from 0 to 9",
        ),
        (
            lambda _: pickle.dumps({"data": np.zeros((1, 3072), "u1"), "labels": ["1"]}),
            "no number from 0 to 9",
        ),
    ],
)
def test_a_spoiled_python_batch_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes], says: str) -> None:
    write_python(tmp_path, batches(3))
    file = tmp_path / "data_batch_3"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(DataError, match=says) as caught:
        cifar.read(tmp_path)
    assert "data_batch_3" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_a_hostile_batch_is_refused_and_does_not_run(tmp_path: Path, packed: bool) -> None:
    folder, mark = tmp_path / "cifar-10-batches-py", tmp_path / "owned"
    write_python(folder, batches(3))
    (folder / "test_batch").write_bytes(_exploit(mark))
    with pytest.raises(DataError, match=r"test_batch is refused: it asks to run 'os.system'"):
        cifar.read(tarred(folder, tmp_path / "a.tar.gz") if packed else folder)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"\x01" * 3072, b"\x0a" + b"\x01" * 3072])
def test_a_spoiled_binary_batch_is_named(tmp_path: Path, content: bytes) -> None:
    write_binary(tmp_path, batches(3))
    (tmp_path / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_2\.bin(:| has)"):
        cifar.read(tmp_path)


def test_where_there_is_nothing_it_says_how_to_get_it(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz .* with --data"):
            cifar.read(path)


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    write_binary(tmp_path, batches(3))
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"not complete: data_batch_4\.bin is missing"):
        cifar.read(tmp_path)


def test_what_is_no_archive_or_not_whole_is_said(tmp_path: Path) -> None:
    write_binary(tmp_path / "b", batches(30))
    whole = tarred(tmp_path / "b", tmp_path / "a.tar.gz").read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        (tmp_path / "c.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as a tar archive"):
            cifar.read(tmp_path / "c.tar.gz")


def test_an_archive_that_claims_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_binary(tmp_path / "b", batches(3))
    path = tarred(tmp_path / "b", tmp_path / "a.tar.gz")
    for name, bound in (("LARGEST", 1000), ("MOST_MEMBERS", 2)):
        with monkeypatch.context() as change:
            change.setattr(cifar, name, bound)
            with pytest.raises(DataError, match="more or larger members than CIFAR-10"):
                cifar.read(path)
    with monkeypatch.context() as change:
        change.setattr(cifar, "LARGEST_ARCHIVE", 1000)
        with pytest.raises(DataError, match="holds more than 1000 bytes"):
            cifar.read(path)
    monkeypatch.setattr(cifar, "LARGEST", 1000)
    with pytest.raises(DataError, match="more than 1000 bytes"):
        cifar.read(tmp_path / "b")


def test_bytes_of_an_archive_changed_at_random_give_images_or_a_data_error(tmp_path: Path) -> None:
    write_binary(tmp_path / "b", batches(1))
    path, rng = tmp_path / "a.tar", np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        archive.add(tmp_path / "b", "b")
    whole = path.read_bytes()
    for _ in range(300):
        changed = bytearray(whole)
        for place in rng.integers(0, 600, 3):  # the headers of the folder and of the first batch
            changed[place if rng.random() < 0.5 else 512 + place % 512] = rng.integers(256)
        path.write_bytes(changed)
        try:
            cifar.read(path)
        except DataError:
            continue


def test_headers_one_behind_the_other_without_end_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "a.tar").write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"x" + b"\0" * 511) * 5000)
    with pytest.raises(DataError, match="cannot be read as a tar archive"):
        cifar.read(tmp_path / "a.tar")


@pytest.mark.parametrize("above", ["../../", "/", "a/../../../", "..\\..\\"])
def test_members_that_climb_are_read_by_their_last_name_and_written_nowhere(
    tmp_path: Path, above: str
) -> None:
    inner = tmp_path / "deep" / "er"
    write_binary(tmp_path / "made", made := batches(10))
    inner.mkdir(parents=True)
    with tarfile.open(inner / "c.tar", "w") as archive:
        for path in (tmp_path / "made").iterdir():
            archive.add(path, arcname=f"{above}{path.name}")
    before = sorted(tmp_path.rglob("*"))
    try:
        assert np.array_equal(cifar.read(inner / "c.tar").test, made["test_batch"][0])
    except DataError as error:  # a name that is no path here
        assert "holds no CIFAR-10 batches" in str(error)
    assert sorted(tmp_path.rglob("*")) == before


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name in BATCHES:
            link = tarfile.TarInfo(f"x/{name}.bin")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link, io.BytesIO())
    with pytest.raises(DataError, match="holds no CIFAR-10 batches"):
        cifar.read(path)


@pytest.mark.slow
def test_the_real_set_has_5000_and_1000_images_of_each_class(data: Path, tmp_path: Path) -> None:
    unpack = data / "cifar10" / "unpack.py"
    if not unpack.is_file():
        pytest.skip(f"no {unpack}, which writes the binary batches")
    subprocess.run([sys.executable, str(unpack), str(tmp_path)], check=True, capture_output=True)
    found = cifar.read(tmp_path)
    assert np.bincount(found.train_classes).tolist() == [5000] * len(CLASSES)
    assert np.bincount(found.test_classes).tolist() == [1000] * len(CLASSES)
    blue_over_red = found.train[:, 2].mean(axis=(1, 2)) - found.train[:, 0].mean(axis=(1, 2))
    bluest = np.argsort([blue_over_red[found.train_classes == c].mean() for c in range(10)])[-2:]
    assert {CLASSES[c] for c in bluest} == {"airplane", "ship"}  # sky and sea
