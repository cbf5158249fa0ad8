"""A .tar of Landsat is read where it lies: as its folder, without unpacking, whatever its headers claim."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from commands import refused, told, typed
from deliveries import landsat, tarred

RNG = np.random.default_rng(5)
QUALITY = np.zeros((60, 70), int)
QUALITY[:5] = 1 << 3
NAME = "LC08_L2SP_192027_20230615_20230622_02_T1"


def delivered(folder: Path) -> Path:
    return landsat(folder, {n: RNG.integers(7000, 20000, (60, 70)) for n in (2, 3, 4, 5)}, QUALITY)


def with_member(archive: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(archive, "a") as file:
        file.addfile(member, io.BytesIO(content))
    return archive


def test_a_tar_is_read_as_the_folder_in_it(here: Path) -> None:
    folder = delivered(here)
    for of, out in ((folder, "folder"), (tarred(folder), "tar")):
        assert typed("tile", of, "--size", 16, "--out", out).exit_code == 0
    (one,), (other,) = (here / "folder").iterdir(), (here / "tar").iterdir()
    for name in ("tiles.npy", "valid.npy", "index.npy"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert one.name == other.name == NAME
    assert {p.name for p in here.iterdir()} == {"folder", "tar", folder.name, f"{folder.name}.tar"}


def test_a_folder_in_a_tar_is_found(here: Path) -> None:
    folder = delivered(here)
    with tarfile.open(here / f"{NAME}.tar", "w") as archive:
        archive.add(folder, f"./{NAME}")
    said = told("info", here / f"{NAME}.tar")
    assert (said["product"], [b["name"] for b in said["bands"]]) == (
        "Landsat 8 L2SP",
        ["B2", "B3", "B4", "B5"],
    )


def test_names_that_climb_out_of_a_tar_lead_nowhere(here: Path) -> None:
    archive = tarred(delivered(here))
    link = tarfile.TarInfo("link.TIF")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with_member(with_member(archive, tarfile.TarInfo("../../out.TIF")), link)
    before = sorted(here.parent.rglob("*"))
    assert typed("info", archive).exit_code == 0
    assert sorted(here.parent.rglob("*")) == before


def test_metadata_that_name_a_file_elsewhere_are_refused(here: Path) -> None:
    folder = delivered(here)
    metadata = folder / f"{NAME}_MTL.txt"
    metadata.write_text(metadata.read_text().replace(f"{NAME}_SR_B3.TIF", "../secret.TIF"))
    (here / "secret.TIF").write_bytes((folder / f"{NAME}_SR_B4.TIF").read_bytes())
    assert "name ../secret.TIF, which lies outside of it" in refused(2, "tile", tarred(folder))


def test_a_tar_that_ended_early_is_refused(here: Path) -> None:
    archive = tarred(delivered(here))
    archive.write_bytes(archive.read_bytes()[:12_000])
    assert "the download may have ended early" in refused(2, "tile", archive)
    archive.write_bytes(b"\x1f\x8b" + bytes(600))
    assert "cannot be read" in refused(2, "tile", archive)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_that_claims_gigabytes_costs_nothing(here: Path, kind: bytes) -> None:
    archive = here / f"{NAME}.tar"
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, 1 << 40
    archive.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    assert "a header claims" in refused(2, "tile", archive)
