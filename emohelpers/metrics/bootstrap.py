"""How far a figure would move on other pictures of the same kind: resampling of whole groups, vectorised.

Rows are named columns: `{"hits": (n,), "confusion": (n, K*K)}`. A figure is a function `of` their sums, which it gets
under the same names, (R,) and (R, K*K), and returns by name, each (R,). So R resamples need no loop.
"""

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

import numpy as np
from numpy import ndarray

Columns = Mapping[str, ndarray]
Of = Callable[[Columns], Mapping[Any, ndarray]]


def figures(
    columns: Columns,
    groups: ndarray,
    of: Of,
    *,
    units: Mapping[Any, int] | None = None,
    raised: Collection[Hashable] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> dict[Any, dict[str, float]]:
    """Every figure as `{"value", "low", "high", "n"}`, the middle 95 % of a bootstrap over whole groups.

    Args:
        columns: what the figures are functions of the sums of, (n,) or (n, k) each.
        groups: (n,) a value a row; rows of one group are drawn together.
        units: of figures that are shares, on how many independent units they stand; see `interval`.
        raised: figures that count the noise of resampling as error; their mean excess is taken off.
    """
    units = units or {}
    observed = values(columns, of)
    result = {}
    for name, drawn in draws(columns, groups, of, resamples, seed).items():
        value = observed[name]
        # Row 0 is the figure as observed, no resample.
        resample = drawn[1:]
        if name in raised:
            # Resampling adds noise of its own to such a figure: the shift centres its interval on the value.
            excess = resample.mean() - value
            resample = np.clip(resample - excess, 0, None)
        low, high = interval(resample, value, units.get(name, 0))
        result[name] = {"value": value, "low": low, "high": high, "n": len(groups)}
    return result


def paired(
    a: Columns,
    b: Columns,
    groups: ndarray,
    of: Of,
    *,
    errors: Collection[Hashable] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> dict[Any, dict[str, Any]]:
    """Each figure of two models on the same rows: a, b, `difference` b - a with low and high, and the `verdict` on b.

    Args:
        a, b: columns of the same names; row i of both is about the same picture.
        errors: figures of which less is better.
    """
    names = list(a)
    # One call for both models: every resample draws the same groups for a and b.
    sums = _sums([*a.values(), *(b[name] for name in names)], groups, resamples, seed)
    of_a = of(dict(zip(names, sums[: len(names)], strict=True)))
    of_b = of(dict(zip(names, sums[len(names) :], strict=True)))
    result = {}
    for name in of_a:
        difference = of_b[name] - of_a[name]
        low, high = interval(difference[1:])
        result[name] = {
            "a": of_a[name][0],
            "b": of_b[name][0],
            "difference": difference[0],
            "low": low,
            "high": high,
            # Of an error less is better: its gain is the difference with the other sign.
            "verdict": verdict(-high, -low) if name in errors else verdict(low, high),
        }
    return result


def mean(values: ndarray, groups: ndarray | None = None, *, resamples: int = 2000) -> dict[str, float]:
    """The mean of (n,) values as a figure, NaN left out; of nothing it is NaN. Without groups each value is its own."""
    known = np.isfinite(values)
    n = int(known.sum())
    if n == 0:
        return {"value": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    columns = {"sum": values[known]}
    if groups is None:
        figure = figures(columns, np.arange(n), lambda sums: {"mean": sums["sum"] / n}, resamples=resamples)["mean"]
    else:
        columns["n"] = known[known]
        figure = figures(columns, np.asarray(groups)[known], share, resamples=resamples)["share"]
    figure["value"] = float(values[known].mean())  # pairwise, so the last bit differs from that of a sum over rows
    return figure


def share(sums: Columns) -> dict[str, ndarray]:
    """The simplest `of`: columns "sum" and "n"."""
    return {"share": sums["sum"] / sums["n"]}


def verdict(low: float, high: float) -> str:
    """What the interval of a gain says."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"


def draws(columns: Columns, groups: ndarray, of: Of, resamples: int, seed: int) -> Mapping[Any, ndarray]:
    """Each figure (1 + resamples,): first as observed, then in every resample."""
    sums = _sums(list(columns.values()), groups, resamples, seed)
    return of(dict(zip(columns, sums, strict=True)))


def values(columns: Columns, of: Of) -> dict[Any, float]:
    """Every figure as observed, without interval."""
    rows = _rows(list(columns.values()))
    sums = _split(rows.sum(axis=0)[None], list(columns.values()))
    return {name: float(figure[0]) for name, figure in of(dict(zip(columns, sums, strict=True))).items()}


def _sums(columns: list[ndarray], groups: ndarray, resamples: int, seed: int) -> list[ndarray]:
    """Sums of each column, (1 + resamples,) or (1 + resamples, k): first as observed, then in every resample."""
    rows = _rows(columns)
    sums = np.vstack([rows.sum(axis=0), resampled(rows, groups, resamples, seed)])
    return _split(sums, columns)


def _rows(columns: list[ndarray]) -> ndarray:
    return np.column_stack(columns).astype(np.float64)


def _split(sums: ndarray, columns: list[ndarray]) -> list[ndarray]:
    """(R, F) -> the sums of each column, (R,) or (R, k)."""
    parts = []
    start = 0
    for column in columns:
        if column.ndim == 1:
            parts.append(sums[:, start])
            start += 1
        else:
            width = column.shape[1]
            parts.append(sums[:, start : start + width])
            start += width
    return parts


def resampled(rows: ndarray, groups: ndarray, resamples: int, seed: int) -> ndarray:
    """Column sums of `rows` (n, F) in every resample of whole groups: (resamples, F)."""
    # Groups are what is drawn: their rows are summed once, and a resample costs no more than its groups.
    names, member = np.unique(groups, return_inverse=True)
    n = len(names)
    sums = np.zeros((n, rows.shape[1]))
    np.add.at(sums, member, rows)
    rng = np.random.default_rng(seed)
    parts = []
    block = max(1, 2_000_000 // n)  # resamples at a time: 16 MB of counts
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        # Resample i counts from i * n on, so that one bincount serves all resamples of the block.
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)  # how often each group was drawn
        parts.append(times.astype(np.float64) @ sums)
    return np.vstack(parts)


def interval(drawn: ndarray, value: float | None = None, units: int = 0) -> tuple[float, float]:
    """The middle 95 % of `drawn`; NaN, NaN where no resample defines the figure.

    A share of 0 or 1 is the same in every resample, proof of little: then the exact binomial bound of `units`.
    """
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = (float(q) for q in np.nanquantile(drawn, [0.025, 0.975]))
    if value in (0.0, 1.0) and low == high and units:
        # With all n right, p ** n = 0.025 is the share at which that has a chance of 2.5 %.
        bound = 0.025 ** (1 / units)
        return (bound, 1.0) if value == 1.0 else (0.0, 1 - bound)
    return low, high
