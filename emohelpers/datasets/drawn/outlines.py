"""Outlines that are sums of a few measures of a face: read once from outlines.yaml, evaluated by one matrix product."""

from collections.abc import Mapping

import numpy as np
from numpy import ndarray

from emohelpers.datasets.drawn.canvas import curve, ellipse
from emohelpers.datasets.drawn.tables import table


class Outlines:
    """The outlines of a part of outlines.yaml, `whole` or `sided`."""

    def __init__(self, part: str):
        content = table("outlines")
        self.measures = content["measures"][part]
        self.lifts: dict[str, float] = {}
        factors: dict[str, ndarray] = {}
        for name, row in content[part].items():
            factors[name] = self._factors(row)
            if "after" in row:
                factors[name] = np.concatenate([factors[row["after"]], factors[name]])
            self.lifts[name] = row.get("lift", 0.0)
        sizes = [len(rows) for rows in factors.values()]
        self._names = tuple(factors)
        self._starts = np.cumsum(sizes)[:-1]
        # two rows a point, x and y, and a column a measure
        self._matrix = np.concatenate(list(factors.values())).reshape(-1, len(self.measures))

    def points(self, values: Mapping[str, float]) -> dict[str, ndarray]:
        """Name -> (N, 2) points on the face that has these measures."""
        vector = np.array([values[measure] for measure in self.measures])
        # Every coordinate is linear in the measures, so one product gives all outlines.
        points = (self._matrix @ vector).reshape(-1, 2)
        return dict(zip(self._names, np.split(points, self._starts), strict=True))

    def _factors(self, row: Mapping) -> ndarray:
        """(N, 2, measures): what the measures are multiplied by in each point of an outline."""
        if "ellipse" in row:
            *sums, count = row["ellipse"]
            x, y, x_radius, y_radius = map(self._sum, sums)
            return np.stack([x, y]) + ellipse(0, 0, 1, 1, count)[..., None] * np.stack([x_radius, y_radius])
        corners = np.array([[self._sum(x), self._sum(y)] for x, y in row["points"]])
        if "curve" in row:
            flat = corners.reshape(len(corners), -1)
            corners = curve(flat, row["curve"], not row.get("open")).reshape(-1, 2, len(self.measures))
        down = np.stack([self._sum(0), self._sum(1)])
        return np.concatenate([corners + step * down for step in row.get("again", [0])])

    def _sum(self, coordinate: float | Mapping[str, float]) -> ndarray:
        """(measures,) factors of a coordinate."""
        terms = coordinate if isinstance(coordinate, Mapping) else {"rest": coordinate}
        factors = np.zeros(len(self.measures))
        for measure, factor in terms.items():
            factors[self.measures.index(measure)] = factor
        return factors


class Moves:
    """How far action units move the measures of moves.yaml."""

    def __init__(self, units: tuple[int, ...]):
        rows = table("moves")
        self._names = tuple(rows)
        self._matrix = np.array([[row.get(unit, 0.0) for unit in units] for row in rows.values()])

    def of(self, strengths: Mapping[int, float]) -> dict[str, float]:
        """Measure -> how far it is moved by strengths of all units, in their order."""
        moved = self._matrix @ np.array(list(strengths.values()))
        return dict(zip(self._names, moved.tolist(), strict=True))
