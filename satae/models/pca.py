"""Principal component analysis rebuilds each pixel from its leading components: the linear autoencoder.

Bourlard and Kamp (1988) show that no linear autoencoder does better in mean squared error.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models import Output, Sample
from satae.nn.bank import vectors_at
from satae.nn.pca import components_of, moments

# in whitened space all components have a variance near 1, and which of them lead would be chance
SUITS = {"input": {"space": "bands"}, "score": ["mse"]}


@dataclass(frozen=True)
class Params:
    """The settings of pca.

    `components` kept, at the most one fewer than there are channels.
    """

    components: int = 10

    def __post_init__(self) -> None:
        if self.components < 1:
            raise ValueError(f"components {self.components} is not positive")


class Pca(nn.Module):
    """Projection of each pixel on the leading eigenvectors of the covariance."""

    stride = 1
    mean: Tensor
    basis: Tensor

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        # with as many components as channels every pixel would be rebuilt exactly, and nothing found
        self.code_size = max(1, min(params.components, channels - 1))
        # buffers, settled by `fit`: no gradient moves them, and the ONNX file holds them
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("basis", torch.eye(channels)[: self.code_size])  # (code, channels)

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        # (N, code, H, W): coordinates along the leading eigenvectors, and back
        code = torch.einsum("kc,nchw->nkhw", self.basis, x - self.mean)
        return Output(torch.einsum("kc,nkhw->nchw", self.basis, code) + self.mean, code)

    def fit(self, pixels: Sample) -> None:
        """Mean and components of the chosen pixels."""
        mean, covariance = moments(vectors_at(x, chosen) for x, _, chosen in pixels())
        basis = torch.from_numpy(components_of(mean.numpy(), covariance.numpy(), self.code_size).basis)
        self.mean.copy_(mean[None, :, None, None])
        # pixels that vary in fewer directions are rebuilt by as many; what is left of the basis is of no use
        # (K, C): an orthonormal row a component, by falling variance
        self.basis.zero_()[: len(basis)] = basis


def build(channels: int, params: Params) -> Pca:
    """The architecture for `channels` input channels."""
    return Pca(channels, params)
