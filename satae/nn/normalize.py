"""From DN to the space that autoencoders see and errors are measured in: scaled, stretched, then linear.

    DN  --scale-->  u in [0, 1]  --stretch-->  v  --affine-->  x, one channel a band or a principal component

Numbers only; the torch module that applies them is in `graph`, and so in the ONNX file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from satae.errors import TrainError

Vector = npt.NDArray[np.float64]
TAIL = 0.001  # share of pixels under `low` and over `high`
LOG_FLOOR = 0.02  # added before the logarithm, in units of the range between low and high, at the least
NOISE_FLOOR = 5.0  # the same in standard deviations of the noise


@dataclass(frozen=True)
class Normalizer:
    """The numbers of a normalisation, fitted to a sample. B bands, K channels of `x`.

    `low`, `high` (B): the 0.1 % and 99.9 % quantiles of the valid DN. A bright target may exceed `high` by
    one range before it is clipped, and in the linear stretch fall below `low` by one.
    `logarithmic`: v = log(t + log_floor) with t = (DN - low) / (high - low), else v = t.
    `mean` (B) and `spread` (B, standard deviation) of v; `whitening` (K, B): leading principal components
    of v over their shrunk standard deviation; `whitened`: whether x = whitening (v - mean), or
    (v - mean) / spread. With `unit`, which goes first, x is v between its least and its largest possible
    value, in [0, 1].
    """

    low: Vector
    high: Vector
    logarithmic: bool
    mean: Vector
    spread: Vector
    whitening: Vector
    whitened: bool
    log_floor: float = LOG_FLOOR
    unit: bool = False

    @property
    def floor(self) -> Vector:
        """The DN at u = 0."""
        return self.low if self.logarithmic else self.low - (self.high - self.low)

    @property
    def ceiling(self) -> Vector:
        """The DN at u = 1."""
        return self.high + (self.high - self.low)

    @property
    def stretch(self) -> tuple[float, float]:
        """(gain, offset): v = gain * u + offset, before the logarithm where there is one."""
        return (2.0, self.log_floor) if self.logarithmic else (3.0, -1.0)

    @property
    def affine(self) -> Vector:
        """The (K, B) matrix of the last step, which is taken from `centre`."""
        if self.unit:
            least, largest = self._ends
            return np.eye(len(self.mean)) / (largest - least)
        return self.whitening if self.whitened else np.diag(1 / self.spread)

    @property
    def centre(self) -> Vector:
        """The v (B) at x = 0."""
        return np.full_like(self.mean, self._ends[0]) if self.unit else self.mean

    @property
    def _ends(self) -> tuple[float, float]:
        """v at u = 0 and at u = 1."""
        gain, offset = self.stretch
        ends = np.array([offset, gain + offset])
        least, largest = np.log(ends) if self.logarithmic else ends
        return float(least), float(largest)

    def stretch_values(self, dn: npt.NDArray[np.floating]) -> Vector:
        """v of (n, B) pixels, in float64."""
        # clipped one range beyond the quantiles: a target may be brighter than all of training, but not without end
        u = np.clip((dn - self.floor) / (self.ceiling - self.floor), 0, 1)
        v = self.stretch[0] * u + self.stretch[1]
        return np.log(v) if self.logarithmic else v


def fit(
    sample: npt.NDArray[np.floating],
    *,
    whitened: bool,
    logarithmic: bool = False,
    common: bool = False,
    ridge: float = 1e-3,
    components: int = 32,
    noise: npt.ArrayLike = 0.0,
    unit: bool = False,
) -> Normalizer:
    """The normaliser of (n, B) valid pixels.

    `noise` is the standard deviation of each band's, in DN: a logarithm without a floor well above it would make the
    noise of dark ground the largest contrast (the generalised logarithm of Durbin et al. 2002). With `common` every
    band has the range of the widest, so that bands keep their weight; it tells only where the space is not one
    standard deviation a band.

    Whitening divides principal component i by sqrt(l_i + ridge * mean(l)), l the eigenvalues of the
    covariance of v: shrinkage towards a multiple of the identity (Ledoit and Wolf 2004), which keeps noise
    in weak components from ruling the score. A constant band gets a unit range and says nothing.
    Raises TrainError where no band varies.
    """
    # quantiles and not extremes: a few broken pixels would set the range otherwise
    low, high = np.quantile(sample.astype(np.float64, copy=False), [TAIL, 1 - TAIL], axis=0)
    low, high = _opened(sample, low, high)
    high = low + (high - low).max() if common else high
    bands = len(low)
    zero, one = np.zeros(bands), np.ones(bands)
    # in units of the range of the band in which the noise is largest
    log_floor = max(LOG_FLOOR, NOISE_FLOOR * float((np.asarray(noise) / (high - low)).max()))
    # without mean and whitening yet: only the stretch is used, which they are fitted to
    draft = Normalizer(low, high, logarithmic, zero, one, np.eye(bands), whitened, log_floor)
    v = draft.stretch_values(sample)
    mean = v.mean(axis=0)
    # a constant band: rounding gives it a variance that whitening would blow up to 1
    varies = sample.max(axis=0) > sample.min(axis=0)
    if not varies.any():
        raise TrainError("every band is constant over the valid pixels, so there is nothing to learn")
    covariance = np.atleast_2d(np.cov(v.T, bias=True)) * np.outer(varies, varies)  # without rounding's noise
    variance = np.diag(covariance)
    spread = np.sqrt(np.where(variance > 0, variance, 1.0))
    return Normalizer(
        low,
        high,
        logarithmic,
        mean,
        spread,
        _whitening(covariance, ridge, components),
        whitened,
        log_floor,
        unit,
    )


def _opened(sample: npt.NDArray[np.floating], low: Vector, high: Vector) -> tuple[Vector, Vector]:
    """Quantiles of a band that is constant but for under 0.1 % of its pixels, widened to its full range."""
    # first the whole range, for what differs in fewer than 0.1 % of its pixels; then a unit, for what is constant
    flat = high <= low
    low = np.where(flat, sample.min(axis=0), low)
    high = np.where(flat, sample.max(axis=0), high)
    return low, np.where(high > low, high, low + np.maximum(1.0, 1e-3 * np.abs(low)))


def _whitening(covariance: Vector, ridge: float, components: int) -> Vector:
    values, vectors = np.linalg.eigh(covariance)
    # by falling eigenvalue
    keep = np.argsort(values)[::-1][:components]
    # a share of the mean eigenvalue (trace / B) is added to each, as shrinkage towards a multiple of the identity does
    scale = np.sqrt(np.maximum(values[keep], 0) + ridge * np.trace(covariance) / len(covariance))
    rows = vectors[:, keep].T
    # an eigenvector is one but for its sign: settled, so that models compare across machines
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])
    return np.asarray(rows * signs[:, None] / scale[:, None])
