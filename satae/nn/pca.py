"""Principal components of pixels, whole images or blocks: the best linear code of a given size, exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
NOISE = 1e-12  # of the largest variance: less is rounding
CHUNK = 4096  # rows that are turned into float64 at once


@dataclass(frozen=True)
class Components:
    """`mean` (D); `basis` (K, D), orthonormal rows by falling variance; `variance` (K), the mean square along each."""

    mean: Floats
    basis: Floats
    variance: Floats

    def code(self, rows: npt.NDArray[Any], size: int) -> Floats:
        """The first `size` coordinates (n, size) of rows (n, D)."""
        return np.asarray((rows - self.mean) @ self.basis[:size].T)

    def reconstruction(self, rows: npt.NDArray[Any], size: int) -> Floats:
        """Rows (n, D) as far as the first `size` components span them."""
        return np.asarray(self.code(rows, size) @ self.basis[:size] + self.mean)


def principal(rows: npt.NDArray[Any], components: int) -> Components:
    """The leading components of rows (n, D), in float64; fewer where the rows span no more directions.

    Bourlard and Kamp (1988): no linear autoencoder has a smaller mean squared error over the rows. Of the
    covariance (D, D) and the products of the rows (n, n) the smaller one is decomposed.
    """
    count, width = rows.shape
    mean = np.asarray(rows.mean(axis=0, dtype=np.float64))
    # of (D, D) and (n, n) the smaller one: both have the same eigenvalues but 0
    if count >= width:
        return components_of(mean, _covariance(rows, mean), components)
    centred = rows - mean
    values, vectors = _leading(centred @ centred.T / count, components)
    # eigenvectors of the products of rows, taken through the rows, are those of the covariance
    return _components(mean, values, vectors.T @ centred)


def components_of(mean: Floats, covariance: Floats, components: int) -> Components:
    """The leading components of what has this mean (D) and covariance (D, D)."""
    values, vectors = _leading(covariance, components)
    return _components(mean, values, vectors.T)


def moments(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (D) and covariance (D, D) of vectors that come in parts (n, D), of which one at a time is in memory."""
    # sums of v (D) and of v v' (D, D) in one pass, in float64, for digits are lost in their difference
    # they begin as scalars, for D is not known before the first part
    count, first, second = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        v = part.cpu().double()
        count, first, second = count + len(v), first + v.sum(dim=0), second + v.T @ v
    mean = first / max(1, count)
    return mean, second / max(1, count) - torch.outer(mean, mean)


def _components(mean: Floats, values: Floats, directions: Floats) -> Components:
    """Components along directions (K, D) by rising variance, of any length; fewer where some are rounding alone."""
    # rising from eigh, so turned around; a component of rounding would be divided by its length below
    keep = np.flatnonzero(values > values.max() * NOISE)[::-1]
    basis = directions[keep] / np.linalg.norm(directions[keep], axis=1, keepdims=True)
    # an eigenvector is one but for its sign: its largest number is made positive, so that all machines agree
    signs = np.sign(basis[np.arange(len(basis)), np.abs(basis).argmax(axis=1)])
    return Components(mean, basis * signs[:, None], values[keep])


def _leading(matrix: Floats, count: int) -> tuple[Floats, Floats]:
    """The largest eigenvalues of a symmetric matrix, rising, and their vectors as columns."""
    size = len(matrix)
    values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[max(0, size - count), size - 1])
    return values, vectors


def _covariance(rows: npt.NDArray[Any], mean: Floats) -> Floats:
    total = np.zeros((len(mean), len(mean)))
    # the rows may be bytes on disk: never all of them in float64 at once
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK] - mean
        total += part.T @ part
    return total / len(rows)
