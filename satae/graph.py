"""The whole detector as one torch module: DN and a mask in, anomaly map and tile score out.

This is what the ONNX file holds, so there is one definition of normalisation, error and score. Training uses
its first half.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.errors import ModelError
from satae.normalize import Normalizer
from satae.scores import Linear

FILL = 9  # side of the neighbourhood, in pixels


def filled(x: Tensor, valid: Tensor) -> Tensor:
    """x with each invalid pixel at the mean of the valid ones around it, or at 0 where there are none.

    The edge of nodata is then no edge to the network. What invalid pixels held, NaN included, is not used.
    """
    known = torch.where(valid > 0.5, x, torch.zeros_like(x))
    total = F.avg_pool2d(known, FILL, 1, FILL // 2)
    share = F.avg_pool2d(valid, FILL, 1, FILL // 2)
    return torch.where(valid > 0.5, x, total / share.clamp(min=0.5 / FILL**2))


class Input(nn.Module):
    """DN (N, B, H, W) -> x (N, K, H, W); what each step does is in `normalize`."""

    floor: Tensor
    inverse_range: Tensor
    mean: Tensor

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        span = normalizer.ceiling - normalizer.floor
        for name, vector in (
            ("floor", normalizer.floor),
            ("inverse_range", 1 / span),
            ("mean", normalizer.mean),
        ):
            self.register_buffer(name, torch.tensor(vector, dtype=torch.float32)[None, :, None, None])
        self.gain, self.offset = normalizer.stretch
        self.logarithmic = normalizer.logarithmic
        self.affine = Linear(normalizer.affine)

    def scale(self, image: Tensor) -> Tensor:
        """DN -> u in [0, 1]."""
        return ((image - self.floor) * self.inverse_range).clamp(0, 1)

    def features(self, u: Tensor, valid: Tensor) -> Tensor:
        """u -> x, with invalid pixels (`valid` (N, 1, H, W) at 0) filled from their neighbours."""
        v = self.gain * u + self.offset
        v = torch.log(v) if self.logarithmic else v
        return filled(self.affine(v - self.mean), valid)

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        return self.features(self.scale(image), valid)


class Detector(nn.Module):
    """(image (N, B, H, W) in DN, valid (N, 1, H, W)) -> (anomaly_map, pred_score, band_error).

    `anomaly_map` (N, 1, H, W): the score of each pixel, 0 where invalid. `pred_score` (N): its maximum.
    `band_error` (N, B, H, W): what each band adds to the map.
    """

    def __init__(self, normalizer: Normalizer, model: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.input, self.model, self.head = Input(normalizer), model, head

    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.input(image, valid)
        contribution = self.head(x - self.model(x))
        band_error = torch.where(valid > 0.5, contribution, torch.zeros_like(contribution))
        anomaly_map = band_error.sum(dim=1, keepdim=True)
        return anomaly_map, anomaly_map.amax(dim=(1, 2, 3)), band_error


LARGEST_REACH = 256


def reach(detector: Detector, bands: int, stride: int) -> int:
    """How far, in pixels, an input pixel is felt in the anomaly map, over all positions in the stride.

    Measured, not declared: a NaN is put into one pixel and spreads through every operation that reads it,
    with all pixels valid and with every second row or column invalid. ModelError where it reaches further
    than LARGEST_REACH: no halo would do.
    """
    detector.eval()
    radius = 8 * stride
    while True:
        middle = -(-radius // stride) * stride
        felt = max(_spread(detector, bands, middle, middle + i) for i in range(stride))
        if felt < radius:
            return felt
        if radius > LARGEST_REACH:
            raise ModelError(
                f"the receptive field reaches further than {LARGEST_REACH} pixels: no halo would do"
            )
        radius *= 2


@torch.no_grad()
def _spread(detector: Detector, bands: int, middle: int, place: int) -> int:
    """The largest distance at which a NaN at (place, place) is seen; the image goes on for `middle` around."""
    side = 2 * middle + 1 + place - middle
    image = detector.input.floor.expand(1, bands, side, side).clone()
    image[..., place, place] = torch.nan
    every = torch.ones(1, 1, side, side)
    rows, cols = every.clone(), every.clone()
    rows[:, :, 1 - place % 2 :: 2] = 0
    cols[..., 1 - place % 2 :: 2] = 0
    felt = 0
    for valid in (every, rows, cols):
        hit = torch.nonzero(torch.isnan(detector(image, valid)[0][0, 0]))
        felt = max(felt, int((hit - place).abs().max()))
    return felt
