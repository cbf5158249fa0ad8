"""Burn scars of eight Californian fires: a recipe, the classics, and dNBR, which has seen the scene before the fire.

    python benchmarks/fires.py [DATA] [--each] [--config YAML] [--set KEY=VALUE ...] [--seeds 0,1,2]

DATA is the folder that holds wildfire_s2/ (default: SATAE_DATA, or ../shared/data). One model a method is trained on
all post-fire scenes, with --each one a fire. A scar is 7 to 24 % of its scene and no small object: AUROC is the
figure to read, and a method that looks for what is rare is not expected to win.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import rasterio
from ports import arguments, contest_of, told

from satae.bench import contest as bench
from satae.bench import report

INDEX = "dNBR"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options = arguments(parser)
    fires, contest = Path(options.data).absolute() / "wildfire_s2", contest_of(options)
    cases = scars(fires)
    rows = [report.measurement(indexed(case, fires / "dnbr")) for case in cases]
    with tempfile.TemporaryDirectory() as work:
        rows += [report.measurement(r) for r in bench.results(cases, contest, Path(work), told)]
    print(*report.lines(rows, (*contest.methods, INDEX)), sep="\n")


def scars(fires: Path) -> list[bench.Case]:
    """The scenes after a fire, and what burnt."""
    paths = sorted((fires / "post_fire").glob("*.tif"))
    return [bench.raster_case(path, fires / "masks" / path.name) for path in paths]


def indexed(case: bench.Case, folder: Path) -> bench.Result:
    """dNBR, for comparison: the fall of the normalised burn ratio between two dates."""
    with rasterio.open(folder / case.source.name) as dataset:
        return bench.Result(case, INDEX, 0, dataset.read(1))


if __name__ == "__main__":
    main()
