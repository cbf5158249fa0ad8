"""Unexpected edges count: the squared gradient of the residual over that of the ground around.

The gradient difference of `gradient`, in units of its mean over a ring outside of the target: the outline of an
object counts for more on calm ground than among roofs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.heads import View, Views, gradient, with_sum
from satae.nn.normalize import Normalizer
from satae.nn.surroundings import Ring, odd, rings


@dataclass(frozen=True)
class Params:
    """The settings of edges.

    `target_px`: size of the target, which the ring leaves out.
    """

    target_px: float = 5.0

    def __post_init__(self) -> None:
        if not 1 <= self.target_px <= 21:
            raise ValueError(f"target_px {self.target_px} is not between 1 and 21")

    def ring(self) -> Ring:
        """Inner and outer side in pixels: 11 and 33 around a target of 5."""
        # from one end of a target its other end, and the pixel behind that, lie in the hole of the ring
        # the outer side is six targets: 33 * 33 - 11 * 11 = 968 pixels around a target of 5
        return odd(2 * self.target_px + 1), odd(6 * self.target_px + 3)


class Edges(nn.Module):
    """g / (mean of g over the ring + its mean over the sample), g as `gradient` gives it, band by band."""

    usual: Tensor

    def __init__(self, normalizer: Normalizer, params: Params) -> None:
        super().__init__()
        self.ring, self.gradient = params.ring(), gradient.build(normalizer, gradient.Params())
        self.register_buffer("usual", torch.ones(1))

    def forward(self, view: View) -> Tensor:
        # (N, B, H, W), and one number a pixel (N, 1, H, W): how rough the ground is outside of the target
        found: Tensor = self.gradient(view)
        whole = found.sum(dim=1, keepdim=True)
        around = rings(whole, view.valid, [self.ring])[0]
        # `usual` is what the calmest ground counts as, so that the noise of water makes no edges
        # rounding can make the mean of a ring negative
        unit = around.clamp(min=0) + self.usual
        return with_sum(found / unit, whole / unit)

    @torch.no_grad()
    def fit(self, views: Views) -> None:
        """Take the mean squared gradient over the sample."""
        total = count = 0.0
        for view, chosen in views():
            # nothing but what is chosen is seen, so steps across its rim count as none, as at the edge of the image
            total += float((self.gradient(view._replace(valid=chosen)) * chosen).sum())
            count += float(chosen.sum())
        self.usual[0] = max(total / max(count, 1.0), 1e-12)


def build(normalizer: Normalizer, params: Params) -> Edges:
    """The head for a normaliser's bands."""
    return Edges(normalizer, params)
