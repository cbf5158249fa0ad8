"""Small pictures of reported regions for whoever reviews them: input, what was expected, heatmap, side by side.

A folder of PNG files with `chips.json`, which lists them: only what it lists is ever replaced.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from satae import composite
from satae.errors import OutputError
from satae.gis import qgis
from satae.inference.card import Normalization
from satae.report.reasons import Look

MARKER = "chips.json"
PANEL = 192  # pixels a side that a panel is scaled up to
GAP = 6
OUTLINE = (255, 223, 127)  # blue, green, red, as OpenCV has it
LONGEST_NAME = 120
BY_PRODUCTS = (".aux.xml",)  # what GDAL and QGIS leave beside a picture that was opened
CLUTTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
Picture = composite.Picture


def panels(
    look: Look,
    heat: npt.NDArray[np.float32],
    fitted: Normalization,
    maximum: float,
    bands: Sequence[int] = (),
) -> npt.NDArray[np.uint8]:
    """What a chip is drawn from (side, side, 10): scene, expectation and heatmap in colour, and the region.

    `bands` are shown as blue, green and red, or one as grey; if none is named, those of `composite.display_bands`.

    `heat` (row, col) is the heatmap in the look's window, in the colours that QGIS draws it with: what is clear there,
    as too low to mean anything, has the first of them. Pixels that do not count are grey.
    """
    hot = qgis.heat_colours(np.nan_to_num(heat), qgis.ramp_top(maximum))[..., :3]
    chosen = list(bands) or composite.display_bands(len(look.image))
    low, high = np.array(fitted.low)[chosen], np.array(fitted.high)[chosen]
    shown = [
        composite.bgr(look.image[chosen], low, high, look.valid),
        composite.bgr(look.expected[chosen], low, high, look.valid),
        np.where(look.valid[..., None], hot, np.uint8(round(255 * composite.GREY))),
    ]
    return np.concatenate([*shown, look.inside.astype(np.uint8)[..., None]], axis=2)


def draw(kept: npt.NDArray[np.uint8]) -> Picture:
    """A chip (row, col, 3) of `panels`, in OpenCV's order of colours; the outline lies just outside the region."""
    return side_by_side(panels_of([kept[..., first : first + 3] for first in (0, 3, 6)], kept[..., -1]))


def panels_of(
    pictures: Sequence[npt.NDArray[np.uint8]], inside: npt.NDArray[Any], side: int = PANEL
) -> list[Picture]:
    """Pictures (row, col, 3) of one place scaled up to panels, each with the outline of a region (row, col) in it."""
    scale = max(1, side // len(inside))
    held = _enlarged(inside.astype(np.uint8), scale)
    ring = (cv2.dilate(held, np.ones((3, 3), np.uint8)) > 0) & (held == 0)
    shown = [_enlarged(picture, scale) for picture in pictures]
    for large in shown:
        large[ring] = OUTLINE
    return shown


def side_by_side(shown: Sequence[Picture]) -> Picture:
    """Panels side by side, with a gap between."""
    gap = np.full((len(shown[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([part for panel in shown for part in (panel, gap)][:-1], axis=1)


def png(picture: Picture) -> bytes:
    """A picture as PNG."""
    return cv2.imencode(".png", picture)[1].tobytes()


@contextmanager
def keeping(path: Path) -> Iterator[Callable[[int, npt.NDArray[np.uint8]], None]]:
    """A function that adds the panels of a region, by its number, to an archive that `numpy.load` reads."""
    with zipfile.ZipFile(path, "w") as archive:

        def keep(number: int, kept: npt.NDArray[np.uint8]) -> None:
            entry = zipfile.ZipInfo(f"{number}.npy")  # dated 1980, so that the bytes repeat
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, kept, allow_pickle=False)

        yield keep


def _enlarged(picture: Picture, scale: int) -> Picture:
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def file_name(anomaly_id: str) -> str:
    """A name that every file system takes; one that had to be changed carries a checksum of the whole."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", anomaly_id).lstrip(".-")[:LONGEST_NAME]
    return f"{safe}.png" if safe == anomaly_id else f"{safe}-{zlib.crc32(anomaly_id.encode()):08x}.png"


def write(path: Path, picture: Picture) -> None:
    """Write a picture as one PNG file."""
    path.write_bytes(png(picture))


def folder_of(out: Path) -> Path:
    """Where the chips of a result lie."""
    return out.with_name(f"{out.stem}_chips")


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a folder that is there, and even with `overwrite` one that holds what satae did not write."""
    if not target.exists() and not target.is_symlink():
        return
    if not overwrite:
        raise OutputError(f"{target} exists; pass --overwrite to replace it, or choose another name")
    foreign = _foreign(target)
    if foreign is not None:
        raise OutputError(f"{foreign}, which satae did not write; move it away, or choose another --out")


def _foreign(target: Path) -> str | None:
    """What of a folder is not ours, in words; None where all is."""
    if target.is_symlink() or not target.is_dir():
        return f"{target} is not a folder of chips"
    names = {p.name for p in target.iterdir()}
    try:
        own = set(json.loads((target / MARKER).read_text(encoding="utf-8"))["chips"]) | {MARKER} | CLUTTER
    except (OSError, ValueError, KeyError, TypeError):
        own = CLUTTER
    own |= {f"{name}{tail}" for name in own for tail in BY_PRODUCTS}
    others = sorted(n for n in names if n not in own or not (target / n).is_file())
    return f"{target} holds {others[0]}" if others else None


def seal(folder: Path) -> None:
    """List the chips of a finished folder in its marker."""
    names = sorted(p.name for p in folder.iterdir())
    (folder / MARKER).write_text(json.dumps({"chips": names}, indent=1), encoding="utf-8")


def is_ours(target: Path) -> bool:
    """Whether there is a folder of chips that nobody else has put anything into."""
    return target.exists() and _foreign(target) is None
