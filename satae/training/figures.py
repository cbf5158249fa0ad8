"""Pictures for people: loss curves, reconstructions, an overview of a scored scene, benchmarks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

INK = "#222222"


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves(
    path: Path,
    train: Sequence[float],
    held_out: Sequence[float],
    best: int,
    mean_loss: float,
    pca_loss: float = float("nan"),
    title: str = "",
) -> None:
    """Losses by epoch on a log axis, the epoch whose weights were kept, and what predicting the mean costs, and
    a PCA. Of a single epoch, as of what is fitted in closed form, a bar each, for there is no curve."""
    figure = _figure(7, 4)
    axes = figure.subplots()
    beside = {"predicting the mean": (mean_loss, "#888888"), "PCA of the same code": (pca_loss, "#4f9d69")}
    lines = {"training tiles": (train, "#3b6fb6"), "held-out tiles": (held_out, "#d1603d")}
    if len(train) == 1:
        _bars(axes, {name: (losses[0], colour) for name, (losses, colour) in lines.items()} | beside)
    else:
        for name, (losses, colour) in lines.items():
            axes.plot(range(1, len(losses) + 1), losses, label=name, color=colour)
        axes.axvline(best, color=INK, linewidth=0.8, linestyle=":", label=f"weights kept (epoch {best})")
        for name, (loss, colour) in beside.items():
            if not math.isnan(loss):
                axes.axhline(loss, color=colour, linewidth=0.8, linestyle="--", label=name)
        axes.set(xlabel="epoch", ylabel="loss", yscale="log")
        # losses of one decade would have no number at all, or ten to the power of a fraction
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for each in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            each(FuncFormatter(lambda loss, _: f"{loss:.3g}"))
        axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    axes.set_title(title, fontsize="small")
    figure.savefig(path, metadata={"Software": None})


def _bars(axes: Axes, losses: Mapping[str, tuple[float, str]]) -> None:
    """A bar for each loss that is known, with its number."""
    known = {name: each for name, each in losses.items() if math.isfinite(each[0])}
    drawn = axes.barh(
        list(known), [loss for loss, _ in known.values()], color=[colour for _, colour in known.values()]
    )
    axes.bar_label(drawn, fmt="%.3g", padding=4)
    axes.set(xlabel="loss of the only epoch, so no curve", xmargin=0.15)
    axes.invert_yaxis()


def reconstructions(path: Path, rows: Sequence[tuple[str, Any, Any, Any]]) -> None:
    """A row a tile: title, input and reconstruction (row, col, 3), anomaly map (row, col) on one scale."""
    figure = _figure(7, 2.3 * len(rows))
    axes = figure.subplots(len(rows), 3, squeeze=False)
    top = max(float(np.nanmax(row[3])) for row in rows)
    for line, (title, image, rebuilt, error) in zip(axes, rows, strict=True):
        line[0].imshow(image)
        line[1].imshow(rebuilt)
        drawn = line[2].imshow(error, cmap="inferno", vmin=0, vmax=top)
        line[0].set_ylabel(title)
        figure.colorbar(drawn, ax=line[2], shrink=0.8)
    for axis, title in zip(axes[0], ("input", "reconstruction", "anomaly score"), strict=True):
        axis.set_title(title)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[])
    figure.savefig(path, metadata={"Software": None})


def overview(
    path: Path,
    image: npt.NDArray[np.float64],
    heatmap: npt.NDArray[np.float32],
    outlines: Sequence[npt.NDArray[np.float64]],
    title: str,
) -> None:
    """Scene (row, col, 3) in [0, 1] beside its heatmap (-log10 p), both with region outlines (n, 2) as x, y."""
    height, width = heatmap.shape
    figure = _figure(12, 0.6 + 5.4 * height / width)
    left, right = figure.subplots(1, 2)
    left.imshow(image, interpolation="nearest")
    drawn = right.imshow(heatmap, cmap="inferno", vmin=0, vmax=5)
    for ring in outlines:
        centre, radius = ring.mean(axis=0), max(np.ptp(ring, axis=0).max(), 14)
        for axis, colour in ((left, "#ffd166"), (right, "#7fdbff")):
            axis.plot(ring[:, 0] - 0.5, ring[:, 1] - 0.5, color=colour, linewidth=0.9)
            axis.add_patch(_circle(centre - 0.5, radius, colour))
    left.set_title(title)
    right.set_title("heatmap: -log10 of the tail probability")
    figure.colorbar(drawn, ax=right, shrink=0.85, extend="max")
    for axis in (left, right):  # circles that reach beyond the scene do not widen the picture
        axis.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    figure.savefig(path, metadata={"Software": None})


def _circle(centre: npt.NDArray[np.float64], radius: float, colour: str) -> Circle:
    return Circle((float(centre[0]), float(centre[1])), radius, fill=False, color=colour, linewidth=0.8)


def roc(path: Path, rates: npt.NDArray[np.float64], curves: Mapping[str, npt.NDArray[Any]]) -> None:
    """Share of targets found over the share of false alarms, on a log axis, one line a method."""
    figure = _figure(7, 5)
    axes = figure.subplots()
    for name, found in curves.items():
        axes.plot(
            rates, found, label=name, drawstyle="steps-post", linewidth=2 if name == next(iter(curves)) else 1
        )
    axes.set(xscale="log", xlim=(rates[0], 1), ylim=(0, 1))
    axes.set(xlabel="false alarms, share of the other pixels", ylabel="target pixels found, mean over scenes")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Software": None})


def maps(path: Path, pictures: Sequence[tuple[str, npt.NDArray[Any]]]) -> None:
    """Pictures of one scene in rows of four: (title, RGB in [0, 1] or a map)."""
    columns = min(4, len(pictures))
    lines = -(-len(pictures) // columns)
    height, width = pictures[0][1].shape[:2]
    figure = _figure(3 * columns, lines * (0.4 + 3 * height / width))
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, (title, picture) in zip(grid, pictures, strict=False):
        axes.imshow(picture, cmap="inferno", interpolation="nearest")
        axes.set_title(title, fontsize=9)
    for axes in grid:
        axes.set_axis_off()
    figure.savefig(path, metadata={"Software": None})


def detection(
    path: Path, sizes: Sequence[int], panels: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
) -> None:
    """Share of planted targets found over their size in pixels, a panel a contrast, one line a method."""
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure = _figure(3 * columns + 1, 2.8 * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (title, curves) in zip(grid.ravel(), panels.items(), strict=False):
        for name, found in curves.items():
            axes.plot(
                sizes, found, "o-", label=name, markersize=3, linewidth=2 if name == next(iter(curves)) else 1
            )
        axes.set_title(title, fontsize=9)
        axes.set_xscale("log", base=2)
        axes.set(ylim=(-0.02, 1.02), xticks=sizes, xticklabels=[str(s) for s in sizes])
        axes.grid(alpha=0.3)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel("width of the target in pixels", fontsize=9)
    figure.supylabel("share found", fontsize=9)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8
    )
    figure.savefig(path, metadata={"Software": None})


def gallery(path: Path, rows: Mapping[str, npt.NDArray[Any]]) -> None:
    """Small images (n, 3, H, W) in [0, 1], a titled row each, one below the other."""
    count = max(len(images) for images in rows.values())
    figure = _figure(1.4 + 0.9 * count, 0.95 * len(rows))
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (title, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(line, images, strict=False):
            axes.imshow(np.clip(image, 0, 1).transpose(1, 2, 0), interpolation="nearest")
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[], frame_on=False)
    figure.savefig(path, metadata={"Software": None})
