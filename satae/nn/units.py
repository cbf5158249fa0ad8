"""Layers that architectures are put together from: convolutions in a common style, and the units of the literature.

Every layer keeps H and W but for the stride, rounded up, and none reads further than its kernel: the norms take
their means over the channels of one pixel, never over the image, which would be felt everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch", "group", "layer", "none"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"]
Bound = Literal["linear", "sigmoid", "tanh"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.1), "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "tanh": nn.Tanh,
}  # fmt: skip
BOUNDS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
}  # fmt: skip
GROUP = 4  # channels, at the least, of a group that is normalised


@dataclass(frozen=True)
class Style:
    """What follows each convolution: `norm`, `activation`, and a `dropout` of whole channels in training."""

    norm: Norm = "batch"
    activation: Activation = "relu"
    dropout: float = 0.0

    def finish(self, channels: int) -> list[nn.Module]:
        """The layers that follow a convolution, without those that do nothing."""
        normed = [] if self.norm == "none" else [norm(self.norm, channels)]
        dropped = [nn.Dropout2d(self.dropout)] if self.dropout else []
        return [*normed, ACTIVATIONS[self.activation](), *dropped]


Unit = Callable[..., nn.Module]
"""(inputs, outputs, style, *, stride=1) -> a stage of a network."""


class PixelNorm(nn.Module):
    """Zero mean and unit variance over groups of the channels of each pixel, then a gain and an offset a channel.

    Layer norm (Ba et al. 2016) and group norm (Wu and He 2018) with the mean over no pixels but the one, as in
    Li et al. (2019).
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.offset = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        # (N, C / groups, H, W) each, over the channels of one pixel: a mean over pixels would reach across the image
        parts = [p - p.mean(dim=1, keepdim=True) for p in x.chunk(self.groups, dim=1)]
        scaled = [p * torch.rsqrt((p**2).mean(dim=1, keepdim=True) + 1e-5) for p in parts]
        return torch.cat(scaled, dim=1) * self.gain + self.offset


def norm(kind: Norm, channels: int) -> nn.Module:
    """The norm of that kind; the groups of `group` are the most, up to 8, that have GROUP channels and are equal."""
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    most = max(1, min(8, channels // GROUP))
    groups = max(g for g in range(1, most + 1) if channels % g == 0)
    return PixelNorm(channels, groups if kind == "group" else 1)


def layer(
    inputs: int, outputs: int, style: Style, *, stride: int = 1, kernel: int = 3, groups: int = 1
) -> nn.Sequential:
    """A convolution and what follows it."""
    # a norm brings an offset a channel of its own
    bias = style.norm == "none"
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(convolution, *style.finish(outputs))


class Residual(nn.Module):
    """x + f(x), two convolutions of which the second ends without an activation (He et al. 2016)."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        bare = nn.Conv2d(channels, channels, 3, padding=1, bias=style.norm == "none")
        self.inner = nn.Sequential(layer(channels, channels, style), bare, norm(style.norm, channels))
        self.activation = ACTIVATIONS[style.activation]()

    def forward(self, x: Tensor) -> Tensor:
        # what is learned is the difference from x: at first a block does little, however many there are
        out: Tensor = self.activation(x + self.inner(x))
        return out


def separable(inputs: int, outputs: int, style: Style, *, stride: int = 1) -> nn.Sequential:
    """One 3 x 3 convolution a channel, then one of all channels at each pixel (MobileNet, Howard et al. 2017)."""
    # the norm and the activation in between are those of the paper: without them both would be one linear layer
    deep = layer(inputs, inputs, style, stride=stride, groups=inputs)
    return nn.Sequential(deep, layer(inputs, outputs, style, kernel=1))


class Shuffle(nn.Module):
    """The unit of ShuffleNet v2 (Ma et al. 2018): two branches of half the channels each, interleaved at the end.

    Where H, W and channels stay, the first branch is half of the input as it is; else both are convolved.
    """

    def __init__(self, inputs: int, outputs: int, style: Style, *, stride: int = 1) -> None:
        super().__init__()
        self.split = stride == 1 and inputs == outputs
        half, seen = outputs // 2, inputs // 2 if self.split else inputs
        plain = Style(style.norm, style.activation)  # dropout once a unit
        self.first = nn.Sequential() if self.split else self._branch(inputs, half, plain, stride)
        self.second = nn.Sequential(
            layer(seen, half, plain, kernel=1), *self._branch(half, half, style, stride)
        )

    @staticmethod
    def _branch(inputs: int, outputs: int, style: Style, stride: int) -> nn.Sequential:
        deep = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=style.norm == "none")
        return nn.Sequential(deep, norm(style.norm, inputs), layer(inputs, outputs, style, kernel=1))

    def forward(self, x: Tensor) -> Tensor:
        # (N, half, 2, H, W) -> (N, 2 half, H, W), channels of both in turn: the next unit splits them anew
        one, two = x.chunk(2, dim=1) if self.split else (x, x)
        return torch.stack([self.first(one), self.second(two)], dim=2).flatten(1, 2)


class Squeeze(nn.Module):
    """Each channel times a gate from the means of all channels (squeeze and excitation, Hu et al. 2018).

    The mean is over a box of `side` cells around, not over the image: gather and excite (Hu et al. 2018b).
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side, few = side, max(1, channels // 4)
        self.gate = nn.Sequential(nn.Conv2d(channels, few, 1), nn.ReLU(), nn.Conv2d(few, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        # at the edges the mean of what there is: zeros from beyond would close the gates there
        around = F.avg_pool2d(x, self.side, 1, self.side // 2, count_include_pad=False)
        return x * torch.sigmoid(self.gate(around))


class Attention(nn.Module):
    """Attention of each cell to the window of `side` x `side` cells around it, added to x.

    A sliding window (Ramachandran et al. 2019) has no seams. Similarity is a cosine over a learned temperature, and
    each place in the window has a learned bias a head (Liu et al. 2022).
    """

    def __init__(self, channels: int, side: int, heads: int) -> None:
        super().__init__()
        self.side, self.heads = side, heads
        self.norm = norm("layer", channels)
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.merge = nn.Conv2d(channels, channels, 1)
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), 0.1))
        self.bias = nn.Parameter(torch.zeros(heads, side**2))

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        # (N, heads, D, H, W) each, D channels a head
        q, k, v = (
            part.reshape(n, self.heads, channels // self.heads, height, width)
            for part in self.project(self.norm(x)).chunk(3, dim=1)
        )
        # unit vectors, so that products are cosines: large activations do not decide what is attended to
        q, k = F.normalize(q, dim=2), F.normalize(k, dim=2)
        # (N, heads, side^2, H, W), a place in the window at a time: no unfolded copy of all places is held
        alike = torch.stack([(q * there).sum(dim=2) for there in self._around(k)], dim=2)
        # over the places; the bias lets a head prefer some of them whatever is there
        weight = (alike / self.temperature.clamp(min=0.01)[:, None] + self.bias[:, :, None, None]).softmax(2)
        # (N, heads, D, H, W)
        seen = sum(weight[:, :, i, None] * there for i, there in enumerate(self._around(v)))
        assert isinstance(seen, Tensor)
        out: Tensor = x + self.merge(seen.reshape(n, channels, height, width))
        return out

    def _around(self, z: Tensor) -> list[Tensor]:
        """z (N, heads, D, H, W) at each place in the window, 0 beyond the edges."""
        height, width, reach = *z.shape[-2:], self.side // 2
        wide = F.pad(z, (reach,) * 4)
        return [wide[..., i : i + height, j : j + width] for i in range(self.side) for j in range(self.side)]
