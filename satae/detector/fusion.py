"""From the errors of the score heads to one anomaly map: their sum in a common unit, blur, area term.

    error --smooth, log--> level --standardise--> mean over heads --around, support--> exp, blur--> s
    s --log--> l (+ its top-hat)

One head needs no common unit: s is its error, unless one of the two steps in the middle is asked for. Without an area
term the blurred s is the map; with one the map is the softplus of the standardised l and the standardised top-hat.
All constants are those of the training sample; nothing is scaled by the scene at hand. Heads do not peak at the same
pixels of an object, so the error of each is smoothed before they are asked whether they agree.

Around: in a town every roof stands out, and so none does. Where the mean level of the box around a pixel lies above
that of calm ground, so much is taken from the pixel's own; calm surroundings raise nothing. Of several heads those
tell it that are named for it.

Support: what lies in a sliver of valid pixels cannot be compared with its surroundings, and stands out for that alone.
A level above the mean counts in proportion to the valid share of the box around it, in full from half of it on, so
that a straight edge costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.config import MapSettings, Recipe
from satae.nn.surroundings import gaussian_mean, total

FLOOR = 1e-3  # added to the error in units of its median, before the logarithm
FAR = 1e9  # larger than any level
CALM = 0.25  # of the sample, by the mean level around
ORDINARY = 0.5  # standard deviations of a head by which the level around may lie above that of calm ground
HIGHEST = 50.0  # standard deviations above the mean; the exponential of more is soon not finite

Pick = Callable[[Tensor, Tensor], Tensor]
Errors = Sequence[tuple[Tensor, Tensor, Tensor]]
"""Errors of the heads (N, heads, H, W), `valid` and the pixels to fit to (N, 1, H, W), for parts of the sample."""


def segments(length: int) -> list[tuple[tuple[int, int], int]]:
    """((row, col) step, steps to either side) of straight segments about `length` long in four directions."""
    half = length // 2
    slanted = max(1, round(half / math.sqrt(2)))
    return [((0, 1), half), ((1, 0), half), ((1, 1), slanted), ((1, -1), slanted)]


def along(z: Tensor, step: tuple[int, int], half: int, pick: Pick, beyond: float) -> Tensor:
    """The least or the largest (`pick`) of z over the segment around each pixel, `beyond` outside of the image."""
    # a maximum filter of torch, with a minimum as that of the negative
    if 0 in step:  # a piece of a row or column
        row, col = abs(step[0]) * half, abs(step[1]) * half
        sign = 1 if pick is torch.maximum else -1
        return sign * F.max_pool2d(sign * z, (2 * row + 1, 2 * col + 1), 1, (row, col))
    # by doubling: of two segments that touch or overlap the larger one is that of both, so that a length of n
    # takes log2 n comparisons and not n
    part, covered = F.pad(z, (half,) * 4, value=beyond), 1  # pixels of the segment in one of `part`
    while covered < 2 * half + 1:  # each starts at one end of its pixels
        on = min(covered, 2 * half + 1 - covered)
        (r, r_on), (c, c_on) = (_ends(sign * on) for sign in step)
        part = pick(part[..., r, c], part[..., r_on, c_on])
        covered += on
    return part


def _ends(step: int) -> tuple[slice, slice]:
    """What of a side has another one `step` away from it, and those others."""
    first, last = slice(None, -abs(step)), slice(abs(step), None)
    return (first, last) if step > 0 else (last, first)


def opening(level: Tensor, valid: Tensor, length: int) -> Tensor:
    """The highest level at which a pixel lies in a straight segment of `length` pixels that are as high.

    A grey-scale opening by a union of segments in four directions (Serra 1982). It stands in for the opening by
    area of METHODS, which has no finite reach. A segment has its middle on a valid pixel; its invalid pixels
    count as as high as the others.
    """
    good = valid > 0.5
    bounded, low = torch.where(good, level, torch.full_like(level, FAR)), torch.full_like(level, -FAR)
    # the union of segments: the highest of what fits in any of the four directions
    out = low
    for step, half in segments(length):
        # erosion, then dilation: what is shorter than the segment goes, the rest comes back
        eroded = torch.where(good, along(bounded, step, half, torch.minimum, FAR), low)
        out = torch.maximum(out, along(eroded, step, half, torch.maximum, -FAR))
    # an opening never exceeds what it opens; only invalid pixels, which count as high above, could
    return torch.minimum(out, level)


def around(level: Tensor, valid: Tensor, side: int) -> Tensor:
    """The mean level of the valid pixels in the box around each."""
    known = torch.where(valid > 0.5, level, torch.zeros_like(level))
    return total(known, side) / total(valid, side).clamp(min=1)


def support(valid: Tensor, side: int) -> Tensor:
    """What evidence at a pixel counts for: twice the valid share of the box around it, at most 1."""
    return (2 * total(valid, side) / side**2).clamp(max=1)


class Mapping(nn.Module):
    """Errors of the heads to the anomaly map, which is never negative."""

    median: Tensor
    mean: Tensor
    spread: Tensor
    middle: Tensor
    deviation: Tensor
    calm: Tensor

    def __init__(self, settings: MapSettings, heads: int, tellers: Sequence[int] = ()) -> None:
        """`tellers` are the heads that tell how much stands out around a pixel, by their places; all where none is."""
        super().__init__()
        self.settings, self.heads, self.tellers = settings, heads, tellers or range(heads)
        for name, start in (("median", 1.0), ("mean", 0.0), ("spread", 1.0)):
            self.register_buffer(name, torch.full((heads,), start))
        self.register_buffer("middle", torch.ones(1))  # median of s
        self.register_buffer("deviation", torch.ones(2))  # of l and of its top-hat
        self.register_buffer("calm", torch.zeros(1))  # the level around, from which on it counts

    @classmethod
    def of(cls, recipe: Recipe) -> Mapping:
        """The steps that a recipe asks for, not fitted."""
        tellers = [i for i, head in enumerate(recipe.score) if head.name in recipe.map.around_heads]
        return cls(recipe.map, len(recipe.score), tellers)

    @property
    def plain(self) -> bool:
        """Whether the map is an error itself, in its own unit."""
        return self.single and not self.settings.max_object_px

    @property
    def single(self) -> bool:
        """Whether there is one head, of which no level is needed."""
        return self.heads == 1 and not self.settings.around_px and not self.settings.support_px

    def forward(self, errors: Tensor, valid: Tensor) -> Tensor:
        """The map (N, 1, H, W) of errors (N, heads, H, W)."""
        # (N, 1, H, W), not yet compared with what is large around
        s = self.fuse(gaussian_mean(errors, valid, self.settings.smooth), valid)
        if not self.settings.max_object_px:
            return s
        level = self.level(s)
        return F.softplus(level / self.deviation[0] + self.hat(level, valid) / self.deviation[1])

    def fuse(self, errors: Tensor, valid: Tensor) -> Tensor:
        """The score s of smoothed errors: that of one head, or exp of the mean level of several; blurred."""
        if self.single:
            return gaussian_mean(errors, valid, self.settings.blur)
        parts = self.parts(errors)
        # a mean and no maximum: what two heads agree on counts for more than what one of them finds
        level = parts.mean(dim=1, keepdim=True).clamp(max=HIGHEST)
        if self.settings.around_px:
            level = level - (self.around(parts, valid) - self.calm).clamp(min=0)
        # above the mean only: in a sliver evidence for an anomaly is weak, evidence for none is left as it is
        if self.settings.support_px:
            level = level.clamp(max=0) + level.clamp(min=0) * support(valid, self.settings.support_px)
        # blurred as errors and not as logarithms, so that one high pixel among low ones still counts
        return gaussian_mean(level.exp(), valid, self.settings.blur)

    def parts(self, errors: Tensor) -> Tensor:
        """The level of each head (N, heads, H, W)."""
        # logarithms, for errors are skewed; then each head has mean 0 and deviation 1 over the sample
        levels = _level(errors, self.median[:, None, None])
        return (levels - self.mean[:, None, None]) / self.spread[:, None, None]

    def around(self, parts: Tensor, valid: Tensor) -> Tensor:
        """The mean level around each pixel (N, 1, H, W), as the heads have it that tell it."""
        told = torch.cat([parts[:, i : i + 1] for i in self.tellers], dim=1)
        return around(told.mean(dim=1, keepdim=True).clamp(max=HIGHEST), valid, self.settings.around_px)

    def level(self, s: Tensor) -> Tensor:
        """The level l of a score: its logarithm in units of its median."""
        return _level(s, self.middle[0])

    def hat(self, level: Tensor, valid: Tensor) -> Tensor:
        """How far l stands above its opening."""
        return level - opening(level, valid, self.settings.max_object_px)

    @torch.no_grad()
    def fit(self, sample: Errors) -> None:
        """Take medians, means and deviations from the sample."""
        if self.plain:
            return
        smoothed = [(gaussian_mean(errors, v, self.settings.smooth), v, c > 0.5) for errors, v, c in sample]
        # one head at a time, so that no more than one error of the whole sample is in memory twice
        for i in range(self.heads):
            values = torch.cat([errors[:, i : i + 1][chosen] for errors, _, chosen in smoothed])
            self.median[i] = values.median().clamp(min=1e-12)
            level = _level(values, self.median[i])
            self.mean[i], self.spread[i] = level.mean(), level.std().clamp(min=1e-6)
        if self.settings.around_px:
            told = [self.around(self.parts(errors), valid)[c] for errors, valid, c in smoothed]
            self.calm[0] = torch.cat(told).quantile(CALM) + ORDINARY
        if not self.settings.max_object_px:
            return
        # what follows needs the constants above, so the sample is gone through in three steps
        joined = [(self.fuse(errors, valid), valid, chosen) for errors, valid, chosen in smoothed]
        self.middle[0] = torch.cat([s[c] for s, _, c in joined]).median().clamp(min=1e-12)
        levels = [(self.level(s), valid, c) for s, valid, c in joined]
        self.deviation[0] = torch.cat([x[c] for x, _, c in levels]).std().clamp(min=1e-6)
        self.deviation[1] = torch.cat([self.hat(x, v)[c] for x, v, c in levels]).std().clamp(min=1e-6)


def _level(error: Tensor, unit: Tensor) -> Tensor:
    """The logarithm of an error in units of its median."""
    return torch.log(error.clamp(min=0) / unit + FLOOR)
