"""Products of matrices with pixels that give each pixel the same numbers, however many there are beside it.

BLAS takes the last columns by another routine than the others, and the longer sums in other orders, so that a pixel's
last digits would hang on the window that it is read in; a state goes on bit for bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def product(matrix: Floats, x: Floats) -> Floats:
    """The matrix (m, k) times x (k, ..., pixel): (m, ..., pixel), the same of two pixels or more as of all."""
    # row after row for all pixels at once: each has its sum in one order
    flat = np.einsum("mk,kp->mp", matrix, x.reshape(len(x), -1))
    return np.asarray(flat.reshape(len(matrix), *x.shape[1:]))
