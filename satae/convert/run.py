"""The tool inside `satae export`: a trained model in, the same model for another program or in fewer bits out.

The ONNX file itself is the source: nothing is fitted again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from satae import config
from satae.console import SILENT, Steps
from satae.convert import deepness, fidelity, precision
from satae.convert.deepness import Tiling
from satae.convert.precision import PRECISIONS, Feed
from satae.errors import ConfigError, ModelError, TilesError
from satae.inference import runtime
from satae.inference.card import Card, Fidelity, check_bands, check_gsd
from satae.inference.runtime import Model
from satae.publish import check_target, lock, publish, staging
from satae.tiles import store
from satae.tiles.split import Split, split, spread_evenly
from satae.tiles.store import TileSet
from satae.training.export import with_card

FLAVORS = ("satae", "deepness")
SAMPLE_TILES = 64  # of the training tiles, from which the ranges of int8 activations are taken


@dataclass(frozen=True)
class Options:
    """What to make of a model. `tilesets`: what to measure on, without any those trained on below `tiles`.

    `nodata`: the DN that the map leaves out, which only the flavour deepness has no other way to know.
    """

    flavor: str = "satae"
    precision: str = "fp32"
    tilesets: Sequence[Path] = ()
    nodata: float | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for option, value, known in (
            ("flavor", self.flavor, FLAVORS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise ConfigError(f"--{option} {value}: there are {', '.join(known)}")
        if (self.flavor, self.precision) == ("satae", "fp32"):
            raise ConfigError(
                "a model is of flavor satae and fp32 as it is trained; choose another --flavor or --precision"
            )
        if self.nodata is not None and self.flavor != "deepness":
            raise ConfigError("--nodata goes with --flavor deepness; satae takes it from the scene")


@dataclass(frozen=True)
class Result:
    """What `satae export` made. `fidelity` is None where the precision is that of the source, `tiling` without a
    plugin that cuts; sizes in bytes."""

    out: Path
    source: Path
    card: Card
    size: int
    source_size: int
    fidelity: Fidelity | None
    tiling: Tiling | None


def convert(source: Path, out: Path | None, options: Options, steps: Steps = SILENT) -> Result:
    """Write another form of a model, by default beside it, or raise and leave what is there.

    `source` is a model file, or the folder of the run that made it. Raises ModelError where that is not one, or loses
    more than `fidelity` allows; TilesError where there is nothing to measure on; OutputError as `publish`.
    """
    path = model_file(source)
    model = runtime.load(path, "cpu")
    target = path.with_name(_name(path, options)) if out is None else out
    if target.exists() and target.samefile(path):
        raise ConfigError(
            f"--out {target} is the model itself, which is not overwritten; choose another name"
        )
    check_target(target, overwrite=options.overwrite)
    if options.flavor == "deepness":
        deepness.check(model)  # before it is brought to fewer bits
    content = path.read_bytes()
    with lock(target):
        proto, made = onnx.load_from_string(content), model
        if options.precision != "fp32":
            proto, made = _reduced(proto, model, options, steps)
        final, how = with_card(proto, made.card), None
        if options.flavor == "deepness":
            with steps.stage("wrap for deepness"):
                final, how = deepness.plugin_model(proto, made, options.nodata), deepness.tiling(made.card)
        with steps.stage("verify"), staging(target) as folder:
            draft = folder / target.name
            draft.write_bytes(final)
            runtime.open_session(draft.read_bytes(), target.name)
            publish(draft, target)
    return Result(target, path, made.card, len(final), len(content), made.card.fidelity, how)


def model_file(source: Path) -> Path:
    """The model that a run made, NAME.onnx beside `runs` for runs/NAME, or `source` itself where it is no folder.

    Raises ModelError where that file is missing or of another run.
    """
    if not source.is_dir():
        return source
    recipe = source / "config.yaml"
    if not recipe.is_file():
        raise ModelError(f"{source} is no run of `satae train` (no config.yaml); name the model file")
    run = source.absolute()
    path = source.parent.parent / f"{run.name}.onnx"
    if not path.is_file():
        raise ModelError(
            f"there is no {path}, the model of {source}; name the file that `satae train --out` wrote"
        )
    if runtime.load(path, "cpu").card.recipe != config.load(recipe).model_dump():
        raise ModelError(f"{path} was trained with another recipe than {source}; name the model file")
    return path


def _name(path: Path, options: Options) -> str:
    told = [o for o in (options.flavor, options.precision) if o not in ("satae", "fp32")]
    return "_".join([path.stem, *told]) + ".onnx"


def _reduced(
    proto: onnx.ModelProto, model: Model, options: Options, steps: Steps
) -> tuple[onnx.ModelProto, Model]:
    """The model in fewer bits, with what that costs in its card."""
    card, kind = model.card, options.precision
    if card.precision != "fp32":
        raise ModelError(f"{model.name} is {card.precision} already; export from the model that was trained")
    sets = _measured_on(card, options.tilesets)
    train = config.recipe_of(card.recipe).train
    chosen = split(sets, share=train.validation, block=train.block, seed=train.seed, sample=train.sample)
    with steps.stage(f"make it {kind}"):
        less = precision.reduce(proto, kind, _feeds(sets, chosen), model.name)
    card = card.model_copy(update={"precision": kind})
    made = runtime.from_bytes(with_card(less, card), model.name, "cpu")
    with steps.stage("measure the loss", 0, "px") as bar:
        found = fidelity.fidelity(sets, chosen, model, made, bar)
    fidelity.check(found, kind, model.name)
    return less, replace(made, card=card.model_copy(update={"fidelity": found}))


def _measured_on(card: Card, folders: Sequence[Path]) -> list[TileSet]:
    """The named tile sets, or those below `tiles` that the model was trained on; each has to fit the model."""
    if folders:
        sets = store.load_all(list(folders))
    else:
        trained = {scene.sha256 for scene in card.scenes}
        every = [store.load(path) for path in store.tile_sets(Path("tiles"))]
        sets = [s for s in every if s.record.sha256 in trained]
    if not sets:
        names = ", ".join(scene.name for scene in card.scenes)
        raise TilesError(
            f"there is no tile set of {names} in tiles to measure the loss on; name tile sets with --tiles"
        )
    for s in sets:
        record = s.record
        check_bands(
            card,
            tuple(record.bands),
            record.dtype,
            (tuple(record.scales), tuple(record.offsets)),
            str(s.path),
        )
        check_gsd(card, s.grid.gsd_m, str(s.path))
    return sets


def _feeds(sets: Sequence[TileSet], chosen: Split) -> Iterator[Feed]:
    """Evenly spread training tiles, one at a time."""
    for s, t in spread_evenly(chosen.train, SAMPLE_TILES):
        valid = sets[s].valid[t]
        image = np.where(valid, sets[s].images[t], 0).astype(np.float32)
        yield {"image": image[None], "valid": valid[None, None].astype(np.float32)}
