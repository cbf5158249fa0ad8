"""What `satae score` is asked for, and the files that it writes: their names, whether they may be, their places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from satae.decisions import decisions
from satae.decisions.decisions import Decisions
from satae.errors import ConfigError, OutputError
from satae.inference.runtime import Model
from satae.publish import check_target, publish_all
from satae.report import chips, html, stac
from satae.scene.scene import Scene
from satae.scoring import heatmap
from satae.scoring.baseline import Baseline
from satae.scoring.record import How
from satae.scoring.rule import Far, Rule


@dataclass(frozen=True)
class Options:
    """How to score. `min_area_m2` of None is four pixels; without a CRS it counts pixels.

    `chips` pictures of the first regions by rank are drawn. `stac` is the model's file, where STAC Items are
    to be written. Of a foreign scene no region is reported but with `force_domain`, or where the rule asks for
    a number of them. `feedback` moves the ranks of regions that look like those decided on, and is carried over
    to those that are the same. `others` are models that look for another kind of thing: what they report is in the
    result too, by their own calibration.
    """

    rule: Rule = field(default_factory=Far)
    min_area_m2: float | None = None
    heatmap: Path | None = None
    workers: int = 2
    overwrite: bool = False
    created: str = "1970-01-01T00:00:00Z"
    chips: int = 100
    baseline: Baseline | None = None
    force_domain: bool = False
    stac: Path | None = None
    feedback: Decisions | None = None
    others: tuple[Model, ...] = ()

    def how(self, side: int) -> How:
        """What of it concerns each scene alone; `side` is that of its overview, in cells."""
        return How(
            rule=self.rule,
            min_area_m2=self.min_area_m2,
            workers=self.workers,
            created=self.created,
            chips=self.chips,
            reorder=self.feedback is not None,
            baseline=self.baseline,
            force_domain=self.force_domain,
            side=side,
        )


def unique(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that were there before."""
    out: list[str] = []
    for name in names:
        tried, number = name, 2
        while tried in out:
            tried, number = f"{name}-{number}", number + 1
        out.append(tried)
    return out


def heatmap_targets(out: Path, names: Sequence[str], chosen: Path | None) -> list[Path]:
    """Where the heatmap of each scene is to lie: as `chosen`, or beside `out`."""
    if chosen is not None:
        if len(names) > 1:
            raise ConfigError("--heatmap names one file and there are several scenes; leave it out")
        if chosen.parent.resolve() != out.parent.resolve():
            raise ConfigError(f"--heatmap {chosen} must lie in the folder of {out}, whose project shows it")
        if chosen.suffix.lower() not in (".tif", ".tiff"):
            raise ConfigError(f"--heatmap {chosen} must end in .tif")
        return [chosen]
    if len(names) == 1:
        return [out.with_name(f"{out.stem}_heatmap.tif")]
    return [out.with_name(f"{out.stem}_{name}_heatmap.tif") for name in names]


def names(out: Path, heatmaps: Sequence[Path]) -> list[Path]:
    """All that a run may write or remove, folders of chips too; of two results some of these may be the same."""
    styles = [t.with_suffix(".qml") for t in heatmaps]
    beside = [] if out.suffix.lower() == decisions.GPKG else [decisions.beside(out)]
    found = [out, *beside, html.path_of(out), chips.folder_of(out), *stac.targets(out), *heatmaps, *styles]
    return list(dict.fromkeys(found))


def check_targets(scenes: Sequence[Scene], out: Path, heatmaps: Sequence[Path], options: Options) -> None:
    """Refuse targets that must not or cannot be written, before any work is done."""
    report, items = html.path_of(out), stac.targets(out) if options.stac else ()
    for target in (out, *heatmaps, *(t.with_suffix(".qml") for t in heatmaps), report, *items):
        _check_no_input(target, scenes)
        check_target(target, overwrite=options.overwrite)
    html.check_target(report)
    for target in filter(Path.exists, heatmaps):
        heatmap.check_target(target)
    for target in filter(Path.exists, set(items) - set(stac.older(out))):
        raise OutputError(
            f"{target} is a file that satae did not write; move it away, or choose another --out"
        )
    if options.chips:
        chips.check_target(chips.folder_of(out), overwrite=options.overwrite)


def _check_no_input(target: Path, scenes: Sequence[Scene]) -> None:
    """Refuse to write over what is read, whatever --overwrite says."""
    own = [path for scene in scenes for file in scene.files for path in file.source.files]
    read = [*own, *(path for s in scenes for path in (s.limits.aoi, s.limits.mask) if path)]
    if target.exists() and any(target.samefile(p) for p in read):
        raise ConfigError(f"{target} is an input of this run and is not overwritten; choose another name")


def put_in_place(
    folder: Path,
    drawn: Path,
    out: Path,
    heatmaps: Iterable[tuple[Path, Path]],
    options: Options,
    *,
    pictured: bool,
) -> set[Path]:
    """Put drafts in their places, all or none: (draft, target) of heatmaps and all else that the layer file refers to
    first, the layer file last.

    Gives the places of extras that are there now. One that could not be made is left out, and an older one of this
    name goes: it says nothing of this result.
    """
    pictures, report, items = chips.folder_of(out), html.path_of(out), stac.targets(out)
    moves, extras = [], [(drawn / pictures.name, pictures), (folder / report.name, report)]
    for draft, target in heatmaps:
        extras.append((draft.with_suffix(".qml"), target.with_suffix(".qml")))
        moves.append((draft, target))
    if options.stac:
        extras += [(folder / target.name, target) for target in items]
    made = [(draft, target) for draft, target in extras if draft.exists()]
    placed = {target for _, target in made}
    moves += made
    draft = folder / out.name
    if decisions.beside(draft).exists():
        moves.append((decisions.beside(draft), decisions.beside(out)))
    gone: list[Path] = []
    if options.overwrite:
        gone += [target for target in stac.older(out) if target not in placed]
        gone += [report] if report not in placed and html.is_ours(report) else []
        gone += [pictures] if not pictured and chips.is_ours(pictures) else []
    publish_all([*moves, (draft, out)], gone)
    return placed
