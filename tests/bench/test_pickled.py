"""Pickles are read as data: what Python writes comes back, what would run is refused and does not run."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from satae.bench import pickled
from satae.errors import DataError

PROTOCOLS = [0, 1, 2, 3, 4]
ARRAY = np.arange(24, dtype=np.uint8).reshape(4, 6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        {"labels": [6, 9, 0], "batch_label": "training batch 1 of 5", "filenames": ["a.png", "b.png"]},
        {b"labels": list(range(300)), b"n": 10**30, "none": None, "yes": True, "no": False},
        [1, -2, 70_000, 2**40, ("a", ()), ("a", "b", "c", "d"), [], {}, "\u00e4\u4e2d"],
    ],
    ids=["batch", "numbers", "nested"],
)
def test_what_python_writes_comes_back(protocol: int, value: Any) -> None:
    assert pickled.loads(pickle.dumps(value, protocol), "f") == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_bytes_comes_back(protocol: int, order: Any) -> None:
    array = np.array(ARRAY, order=order)
    found = pickled.loads(pickle.dumps({"data": array, "labels": [1]}, protocol), "f")
    assert found["data"].dtype == np.uint8 and np.array_equal(found["data"], array)


def test_an_array_as_python_2_wrote_it_comes_back() -> None:
    """The form of the distributed files: numpy.core names, text for bytes."""
    raw = bytes(range(200, 212))
    program = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00"
        b"\x85q\x05U\x01bq\x06\x87q\x07Rq\x08(K\x01K\x03K\x04\x86q\x09cnumpy\ndtype\nq\x0aU\x02u1q\x0bK\x00K\x01"
        b"\x87q\x0cRq\x0d(K\x03U\x01|q\x0eNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0fb\x89T\x0c\x00\x00\x00"
        + raw
        + b"q\x10tq\x11bU\x06labelsq\x12]q\x13(K\x01K\x02eu."
    )
    found = pickled.loads(program, "f")
    assert np.array_equal(found["data"], np.frombuffer(raw, np.uint8).reshape(3, 4))
    assert found["labels"] == [1, 2]
    theirs = pickle.loads(program, encoding="bytes")  # our own bytes, to know that they are a real pickle
    assert np.array_equal(theirs[b"data"], found["data"])


class Exploit:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_real_exploit_is_refused_and_does_not_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "owned"
    hostile = pickle.dumps({"data": Exploit(f"touch {mark}"), "labels": [0]}, protocol)
    with pytest.raises(
        DataError, match=r"^f is refused: it asks to run '(posix|nt)\.system', and data runs nothing$"
    ):
        pickled.loads(hostile, "f")
    assert not mark.exists()
    pickle.loads(hostile)
    assert mark.exists()  # it would have run


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "asks to run 'builtins.eval'"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "asks to run 'builtins.eval'"),
        (b"(S'touch x'\nios\nsystem\n.", "opcode INST"),
        (b"(cos\nsystem\nS'x'\no.", "asks to run 'os.system'"),
        (b"\x80\x02cnumpy\nndarray\nK\x01\x85\x81.", "opcode NEWOBJ"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"Pid\n.", "opcode PERSID"),
        (b"]K\x01\x85R.", "calls something that is no name"),
        (b"]K\x01b.", "sets the state of what is no array"),
        (b"}(K\x01\x85K\x02u.", "a key of it is neither text nor a number"),
        (b"K\x01K\x02a.", "changes what is no list"),
        (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "holds bytes as 'rot13'"),
    ],
)
def test_every_other_way_to_run_something_is_refused_in_one_sentence(program: bytes, says: str) -> None:
    with pytest.raises(DataError) as caught:
        pickled.loads(program, "batch")
    assert str(caught.value).startswith("batch is refused: ") and says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [OrderedDict(a=1), Fraction(1, 2), np.float32(1), {1, 2}, Path("x")], ids=str
)
def test_objects_of_other_classes_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match="is refused"):
        pickled.loads(pickle.dumps(value, 4), "f")


@pytest.mark.parametrize("dtype", ["f8", "i2", "O", "S3"])
def test_an_array_of_anything_but_bytes_is_refused(dtype: str) -> None:
    with pytest.raises(DataError, match="holds something else than unsigned bytes"):
        pickled.loads(pickle.dumps({"data": np.zeros(3, dtype)}, 4), "f")


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b".", b"e.", b"h\x07.", b"\x00\x01\x02", b"\x8e" + b"\xff" * 8]
)
def test_what_is_no_pickle_is_said_to_be_damaged(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^f is damaged: it is no pickle"):
        pickled.loads(content, "f")


def test_a_pickle_cut_off_anywhere_is_refused() -> None:
    whole = pickle.dumps({"data": ARRAY, "labels": [1, 2, 3, 4]}, 2)
    for end in range(len(whole)):
        with pytest.raises(DataError):
            pickled.loads(whole[:end], "f")


def test_bytes_changed_at_random_give_data_or_a_data_error() -> None:
    whole, rng = pickle.dumps({"data": ARRAY, "labels": [1, 2, 3, 4]}, 4), np.random.default_rng(0)
    for _ in range(2000):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] = rng.integers(256)
        try:
            pickled.loads(bytes(changed), "f")
        except DataError:
            continue


def test_deep_nesting_and_many_opcodes_end_in_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pickled.loads(b"]" * 100_000 + b"a" * 99_999 + b".", "f")  # a list in a list in a list
    with pytest.raises(DataError, match="neither text nor a number"):
        pickled.loads(b"})" + b"\x85" * 100_000 + b"K\x01s.", "f")
    monkeypatch.setattr(pickled, "MOST_OPCODES", 100)
    with pytest.raises(DataError, match="more than 100 opcodes"):
        pickled.loads(b"]" * 200 + b".", "f")


def test_the_programs_here_are_pickles() -> None:
    pickletools.dis(b"(S'touch x'\nios\nsystem\n.", out=io.StringIO())
