"""How far a figure would move on other pictures of the same kind: resampling of whole groups, vectorised.

Any figure that is a function of column sums (a confusion matrix is one) needs no loop over the resamples.
"""

import numpy as np


def resampled(rows: np.ndarray, groups: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Column sums of `rows` (n, F) in every resample of whole groups: (resamples, F)."""
    _, member = np.unique(groups, return_inverse=True)
    n = member.max() + 1
    sums = np.zeros((n, rows.shape[1]))
    np.add.at(sums, member, rows)
    rng = np.random.default_rng(seed)
    parts = []
    block = max(1, 2_000_000 // n)  # resamples at a time: 16 MB of counts
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)  # how often each group was drawn
        parts.append(times.astype(np.float64) @ sums)
    return np.vstack(parts)


def interval(drawn: np.ndarray, value: float | None = None, units: int = 0) -> tuple[float, float]:
    """The middle 95 % of `drawn`; NaN, NaN where no resample defines the figure.

    A share of 0 or 1 is the same in every resample, proof of little: then the exact binomial bound of `units`.
    """
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = (float(q) for q in np.nanquantile(drawn, [0.025, 0.975]))
    if value in (0.0, 1.0) and low == high and units:
        bound = 0.025 ** (1 / units)
        return (bound, 1.0) if value == 1.0 else (0.0, 1 - bound)
    return low, high
