"""What lies in several files, on several grids or in a slow format, put together once as one plain GeoTIFF."""

from __future__ import annotations

import logging
import shutil
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from satae.errors import DamageError, SceneError
from satae.grid import Window
from satae.scene import output, readers
from satae.scene.describe import describe
from satae.scene.doubts import doubts
from satae.scene.once import Blocks
from satae.scene.scene import File, Scene, Survey
from satae.scene.source import Source
from satae.scene.stream import ahead, side_at_once, strips

log = logging.getLogger(__name__)

MAX_MEMBER = 4 << 30  # bytes of a file in an archive; an image of Sentinel-2 has 0.2 GB


def together(
    scene: Scene, path: Path, workers: int, progress: Callable[[int], None] = lambda pixels: None
) -> tuple[Scene, tuple[Window, ...]]:
    """Decode a scene into a new GeoTIFF, with a mask of the pixels that count.

    Gives the scene of that file, and the blocks that were masked because they cannot be decoded. Bands keep names,
    scale, offset and wavelength; what was added to DN or masked is so in the file, and AOI and mask raster apply to it
    again. Raises DamageError where a block is damaged and the scene does not salvage, OutputError as `output.writing`.
    """
    folder = path.parent / "unpacked"
    folder.mkdir()
    survey = Survey(_unpacked(scene, folder))
    # whole blocks of the first file, so that none of its is decoded twice
    step = max(survey.block[0], side_at_once(survey.pixel_bytes))
    with output.writing(path, scene.grid, bands=len(scene.names), dtype=scene.dtype) as out:
        out.name(scene.names)
        out.declare(scene.scales, scene.offsets)
        out.tune(scene.wavelengths, scene.widths)
        for strip, image, valid in ahead(survey, strips(survey, step, 0), 0, workers):
            inside = strip.clip(scene.grid.window)
            rows, cols = inside.slices(strip)
            out.write(image[:, rows, cols], inside)
            out.write_mask(valid[rows, cols], inside)
            progress(inside.height * inside.width)
    shutil.rmtree(folder)
    product = None if scene.product is None else replace(scene.product, fill=(), clouds=())
    limits = replace(scene.limits, nodata=None, offset=0.0, sensor="")
    found = describe([path], limits=limits, warn=False)
    # the provider of a product has said what is fill; of other files the edge can be looked at only now
    for doubt in doubts(found, declared=len(found.names)) if product is None else ():
        log.warning("%s", doubt.replace(str(path), str(scene.path)))
    return replace(found, name=scene.name, product=product), survey.damage


def once(scene: Scene, folder: Path) -> Scene:
    """The scene, of which a block is decoded when it is first asked for, and kept in a new folder while that is there.

    A plain scene, which is soon read, comes back as it is.
    """
    if scene.is_plain:
        return scene
    folder.mkdir()
    return replace(scene, blocks=Blocks(scene, folder, partial(_unpacked, scene, folder)))


def _unpacked(scene: Scene, folder: Path) -> Scene:
    """The scene with what is packed laid open in a folder: decoding jumps about, which some files answer slowly."""
    product = scene.product
    excluded = () if product is None else product.fill + product.clouds
    sources = {s for s in (*(f.source for f in scene.files), *(e.source for e in excluded)) if s.member}
    moved = {
        s: _unpack(s, folder / f"{i}.jp2") for i, s in enumerate(sorted(sources, key=lambda s: s.member))
    }
    for file in scene.files:
        # of a few bands most of what would be unpacked is not wanted
        if file.source.slow and not file.source.member and 2 * len(file.bands) >= len(file.source.bands):
            # who reads it block by block finds the damage, and may go round it
            with suppress(DamageError):
                moved[file.source] = readers.unpack(file.source, folder)
    files = tuple(File(moved.get(f.source, f.source), f.bands, f.alpha) for f in scene.files)
    if product is not None:
        fill, clouds = (
            tuple(replace(e, source=moved.get(e.source, e.source)) for e in of)
            for of in (product.fill, product.clouds)
        )
        product = replace(product, fill=fill, clouds=clouds)
    return replace(scene, files=files, product=product)


def _unpack(source: Source, target: Path) -> Source:
    """A source of its own file."""
    try:
        with zipfile.ZipFile(source.path) as archive:
            if archive.getinfo(source.member).file_size > MAX_MEMBER:
                raise SceneError(f"{source.member} in {source.path} claims more than {MAX_MEMBER >> 30} GiB")
            with archive.open(source.member) as packed, target.open("wb") as file:
                while piece := packed.read(1 << 20):
                    file.write(piece)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise SceneError(
            f"{source.member} in {source.path} is damaged: {error}; download it again"
        ) from error
    return replace(source, path=target, member="", stamp=())
