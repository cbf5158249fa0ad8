"""The whole detector as one torch module: DN and a mask in, anomaly map and tile score out.

This is what the ONNX file holds, so there is one definition of normalisation, error and score. Training uses
its first half.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from satae.detector.fusion import Errors, Mapping
from satae.errors import ModelError
from satae.heads import FittedHead, Linear, View, Views
from satae.models import Sample, Traits
from satae.nn.normalize import Normalizer
from satae.nn.surroundings import total

FILL = 9  # side of the neighbourhood, in pixels
KEPT_BYTES = 256 * 2**20  # of what the heads look at, while heads and map are fitted
SETTLED_PIXELS = 2_000_000  # of the training sample, from which the constants of the map are taken


def fill(x: Tensor, valid: Tensor) -> Tensor:
    """x with each invalid pixel at the mean of the valid ones around it, or at 0 where there are none.

    The edge of nodata is then no edge to the network. What invalid pixels held, NaN included, is not used.
    """
    # by `where`, so that a NaN at an invalid pixel does not spread
    known = torch.where(valid > 0.5, x, torch.zeros_like(x))
    sums, count = total(known, FILL), total(valid, FILL)
    # 0 where the box holds no valid pixel: a sum of 0 over a half
    return torch.where(valid > 0.5, x, sums / count.clamp(min=0.5))


class Input(nn.Module):
    """DN (N, B, H, W) -> x (N, K, H, W) and back; what each step does is in `normalize`."""

    floor: Tensor
    range: Tensor
    mean: Tensor

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        # buffers of shape (1, B, 1, 1): they are numbers of the ONNX file
        span = normalizer.ceiling - normalizer.floor
        self.gain, self.offset = gain, offset = normalizer.stretch
        self.logarithmic = normalizer.logarithmic
        # the gain goes into what follows it: a pass over all bands less
        if self.logarithmic:
            mean, matrix = normalizer.centre - np.log(gain), normalizer.affine
        else:
            mean, matrix = (normalizer.centre - offset) / gain, normalizer.affine * gain
        for name, vector in (("floor", normalizer.floor), ("range", span), ("mean", mean)):
            self.register_buffer(name, torch.tensor(vector, dtype=torch.float32)[None, :, None, None])
        self.affine = Linear(matrix)
        # back from x to v: the pseudo-inverse, for whitening may keep fewer components than there are bands
        self.inverse = Linear(np.asarray(np.linalg.pinv(normalizer.affine), np.float64))

    def scale(self, image: Tensor) -> Tensor:
        """DN -> u in [0, 1]."""
        return ((image - self.floor) / self.range).clamp(0, 1)

    def stretch(self, u: Tensor) -> Tensor:
        """u -> v."""
        v = self.gain * u + self.offset
        return torch.log(v) if self.logarithmic else v

    def features(self, u: Tensor, valid: Tensor) -> Tensor:
        """u -> x, with invalid pixels (`valid` (N, 1, H, W) at 0) filled from their neighbours."""
        # v / gain, or v - log gain where v is a logarithm, less its mean
        v = torch.log(u + self.offset / self.gain) if self.logarithmic else u
        return fill(self.affine(v - self.mean), valid)

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        return self.features(self.scale(image), valid)

    def reconstruction(self, image: Tensor, residual: Tensor) -> Tensor:
        """The DN that are left when a residual in the space of x is taken from an image."""
        # the residual is taken from v of the image itself, so what the components do not hold stays as it was
        v = self.stretch(self.scale(image)) - self.inverse(residual)
        u = ((torch.exp(v) if self.logarithmic else v) - self.offset) / self.gain
        return u * self.range + self.floor


def at_pixels(code: Tensor, stride: int, height: int, width: int) -> Tensor:
    """A code (N, D, H/stride, W/stride), rounded up, with each of its cells at all of the cell's pixels."""
    # a code a pixel already
    if stride == 1:
        return code
    n, d, rows, cols = code.shape
    # (N, D, rows, stride, cols, stride): each number repeated over its cell, cut to the image
    cells = code[:, :, :, None, :, None].expand(-1, -1, -1, stride, -1, stride)
    return cells.reshape(n, d, rows * stride, cols * stride)[..., :height, :width]


class Scores(NamedTuple):
    """What a detector makes of an image. All are 0 where invalid.

    `anomaly_map` (N, 1, H, W): the score of each pixel. `pred_score` (N): its maximum. `band_error` (N, B, H, W):
    what each band adds to the error before the map's steps, each head's in units of its median; where there are no
    such steps it sums to the map. `reconstruction` (N, B, H, W): what the autoencoder made of the image, in DN.
    """

    anomaly_map: Tensor
    pred_score: Tensor
    band_error: Tensor
    reconstruction: Tensor


class Detector(nn.Module):
    """Image (N, B, H, W) in DN and `valid` (N, 1, H, W) to `Scores`."""

    def __init__(
        self, normalizer: Normalizer, model: nn.Module, heads: Sequence[nn.Module], mapping: Mapping
    ) -> None:
        super().__init__()
        self.input, self.model, self.traits = Input(normalizer), model, Traits.of(model)
        self.heads, self.mapping = nn.ModuleList(heads), mapping

    def view(self, x: Tensor, valid: Tensor) -> View:
        """What the heads look at."""
        # heads see no stride: the code is brought to every pixel here, once
        out = self.model(x, valid)
        code = out.code
        if code is not None:
            code = at_pixels(code, self.traits.stride, *x.shape[-2:])
        return View(x, valid, out.reconstruction, code, out.surprise)

    def forward(self, image: Tensor, valid: Tensor) -> Scores:
        # x (N, K, H, W) with invalid pixels filled; what the model makes of it
        view = self.view(self.input(image, valid), valid)
        parts = [head(view) for head in self.heads]  # (N, B, H, W) each
        # (N, 1, H, W), from one error a head (N, heads, H, W)
        scores = self.mapping(torch.cat([part.sum(dim=1, keepdim=True) for part in parts], dim=1), valid)
        # each head in units of its median, so that the bands of one do not drown those of another
        band_error = functools.reduce(
            torch.add, (part / self.mapping.median[i] for i, part in enumerate(parts))
        )
        rebuilt = self.input.reconstruction(image, view.x - view.reconstruction)
        # 0 where invalid, in all outputs alike; `where`, for there may be anything
        good = valid > 0.5
        anomaly_map, band_error, rebuilt = (
            torch.where(good, z, torch.zeros_like(z)) for z in (scores, band_error, rebuilt)
        )
        return Scores(anomaly_map, anomaly_map.amax(dim=(1, 2, 3)), band_error, rebuilt)

    @property
    def passes(self) -> int:
        """How often `settle` goes through the sample."""
        return sum(isinstance(head, FittedHead) for head in self.heads) + (not self.mapping.plain)

    @torch.no_grad()
    def settle(self, sample: Sample, looked: Callable[[], None] = lambda: None) -> None:
        """Fit the heads, then the constants of the map, to the training sample.

        The model runs over the sample once: what the heads look at is kept, as far as KEPT_BYTES allow. `looked` is
        called for each image of the sample in each of the `passes`.
        """
        self.eval()
        views = _Kept(sample, self.view, KEPT_BYTES if self.passes > 1 else 0, looked)
        for head in (head for head in self.heads if isinstance(head, FittedHead)):
            head.fit(views)
        if self.mapping.plain:
            return
        errors = self._errors(views)
        # what the heads looked at is not needed beside what they made of it
        del views
        self.mapping.fit(errors)

    def _errors(self, views: Views) -> Errors:
        """Errors of the heads over the first SETTLED_PIXELS of the sample, as `Mapping.fit` takes them."""
        errors, pixels = [], 0
        for view, chosen in views():
            parts = [head(view).sum(dim=1, keepdim=True) for head in self.heads]
            errors.append((torch.cat(parts, dim=1), view.valid, chosen))
            pixels += int(chosen.sum())
            if pixels >= SETTLED_PIXELS:
                break
        return errors


class _Kept:
    """Passes over a sample, the first views of which are kept for the passes that follow."""

    def __init__(
        self,
        sample: Sample,
        look: Callable[[Tensor, Tensor], View],
        room: int,
        looked: Callable[[], None],
    ) -> None:
        self.sample, self.look, self.looked = sample, look, looked
        self.kept: list[tuple[View, Tensor]] = []
        self.room, self.all = room, False  # bytes; whether all that there is was kept

    def __call__(self) -> Iterator[tuple[View, Tensor]]:
        for found in self._views():
            yield found
            self.looked()

    def _views(self) -> Iterator[tuple[View, Tensor]]:
        known = [*self.kept]
        yield from known
        if self.all:
            return
        for x, valid, chosen in itertools.islice(self.sample(), len(known), None):
            view = self.look(x, valid)
            self.room -= sum(part.nbytes for part in (*view, chosen) if part is not None)
            if self.room >= 0:
                self.kept.append((view, chosen))
            yield view, chosen
        self.all = self.room >= 0


LARGEST_REACH = 256


def reach(detector: Detector, bands: int, stride: int) -> int:
    """How far, in pixels, an input pixel is felt in the anomaly map, over all positions in the stride.

    Measured, not declared: a NaN is put into one pixel, or into its mask, and spreads through every operation that
    reads it, with all pixels valid and with every second row or column invalid. ModelError where it reaches further
    than LARGEST_REACH: no halo would do.
    """
    detector.eval()
    radius = max(32, 2 * stride)
    while True:
        # a multiple of the stride, so that all positions of a pixel within a cell are gone through
        middle = -(-radius // stride) * stride
        felt = max(_spread(detector, bands, middle, middle + i) for i in range(stride))
        if felt < radius:
            return felt
        if radius > LARGEST_REACH:
            raise ModelError(
                f"the receptive field reaches further than {LARGEST_REACH} pixels: no halo would do"
            )
        # the NaN came to the edge: it may reach further than was looked
        radius *= 2


@torch.no_grad()
def _spread(detector: Detector, bands: int, middle: int, place: int) -> int:
    """The largest distance at which a NaN at (place, place) is seen; the image goes on for `middle` around."""
    side = 2 * middle + 1 + place - middle
    image = detector.input.floor.expand(3, -1, side, side)
    # all pixels, every second row, every second column: what stands in for gaps reads from further away
    valid = torch.ones(3, 1, side, side)
    valid[1, :, 1 - place % 2 :: 2] = 0
    valid[2, ..., 1 - place % 2 :: 2] = 0
    felt = []
    for spoiled in (0, 1):
        inputs = [image.clone(), valid.clone()]
        inputs[spoiled][..., place, place] = torch.nan
        felt.append(torch.isnan(detector(*inputs).anomaly_map[:, 0]))
    return int((torch.nonzero(torch.cat(felt))[:, 1:] - place).abs().max())
