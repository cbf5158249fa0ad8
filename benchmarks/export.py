"""What an export costs: CPU seconds, nodes and parity of the detectors that recipes make.

    python benchmarks/export.py [conv sentinel2 directional ...]

`sentinel2` is what `satae train` makes of 5 bands by itself, `directional` of 205, `conv` the plain autoencoder. Each
is measured in a process of its own: the CPU seconds (user and system, all threads) that the import of
satae.training.export takes once torch is there, those of `to_onnx`, the nodes of the graph, the size of the file,
and how far torch and ONNX Runtime are apart on noise, in shares of the range of the map.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from satae.detector.graph import Detector

RECIPES = {"conv": (5, ["model.name=conv"]), "sentinel2": (5, []), "directional": (205, [])}


def detector(bands: int, overrides: list[str]) -> Detector:
    """The detector of a recipe, fitted to noise where it has closed forms, otherwise untrained."""
    import torch

    from satae import config, heads, models
    from satae.detector.fusion import Mapping
    from satae.detector.graph import Detector, Input
    from satae.nn import normalize
    from satae.training import presets

    torch.manual_seed(0)
    recipe = presets.complete_recipe(config.load(None, overrides), bands, None)
    settings = recipe.input
    made = normalize.fit(
        pixels(20_000, bands),
        whitened=settings.space == "whitened",
        logarithmic=settings.stretch == "log",
        common=settings.scale == "common",
        ridge=settings.ridge,
        components=settings.components,
    )
    model = models.build(recipe.model.name, len(made.affine), recipe.model.params).eval()
    found = [heads.head(head, made) for head in recipe.score]
    out = Detector(made, model, found, Mapping.of(recipe))
    valid = torch.ones(1, 1, 96, 96)
    dn = torch.from_numpy(tiles(1, bands, 96))
    sample = [(Input(made)(dn, valid), valid, valid)]
    if isinstance(model, models.ClosedForm):
        model.fit(lambda: iter(sample))
    out.settle(lambda: iter(sample))
    return out


def pixels(count: int, bands: int) -> np.ndarray:
    """Positive and correlated DN (count, bands)."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(count, bands)) @ rng.normal(size=(bands, bands))
    return np.asarray(500 * np.exp(0.3 * mixed / np.sqrt(bands)))


def tiles(count: int, bands: int, side: int) -> np.ndarray:
    """DN (N, B, H, W) without structure."""
    drawn = pixels(count * side**2, bands).reshape(count, side, side, bands)
    return np.ascontiguousarray(drawn.transpose(0, 3, 1, 2), np.float32)


def measured(name: str) -> str:
    """A line of figures; only in a process that has not exported yet."""
    bands, overrides = RECIPES.get(name, (5, [f"model.name={name}"]))
    import torch  # noqa: F401

    began = time.process_time()
    from satae.training import export

    imported = time.process_time() - began
    found = detector(bands, overrides)
    began = time.process_time()
    proto = export.to_onnx(found, bands)
    exported = time.process_time() - began
    content = proto.SerializeToString()
    image = tiles(2, bands, 96)
    apart = export.parity(found, content, image, np.ones((2, 96, 96), bool))
    return (
        f"{name:<12} {bands:>5} {imported:>8.1f} {exported:>8.1f} {len(proto.graph.node):>6} "
        f"{len(content) / 1e3:>8.0f} {apart.share_of_range:>10.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(RECIPES))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(measured(args.names[0]), flush=True)
        return
    head = ("detector", "bands", "import s", "export s", "nodes", "kB", "difference")
    print("{:<12} {:>5} {:>8} {:>8} {:>6} {:>8} {:>10}".format(*head), flush=True)
    for name in args.names:
        subprocess.run([sys.executable, __file__, name, "--one"], check=True)


if __name__ == "__main__":
    main()
