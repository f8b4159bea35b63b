"""What a model looks at, in words: the share of its maps in each part of the face, written from the figures alone."""

from collections.abc import Mapping

import numpy as np
from numpy import ndarray
from pandas import DataFrame, Series

from emohelpers.config.registry import METHODS
from emohelpers.explain import localisation
from emohelpers.explain.evidence import Evidence
from emohelpers.explain.explainer import Explainer
from emohelpers.explain.methods import Maps
from emohelpers.explain.verdicts import BELIEVE

ENOUGH = 1.2  # times its area, from which a part counts as looked at
THIRDS = ("upper third", "middle third", "lower third")


def parts(regions: Mapping[str, ndarray] | None, shape: tuple[int, int, int]) -> dict[str, ndarray]:
    """Masks (n, s, s) of the parts of each face where they are known, else the thirds of the picture."""
    if regions is not None:
        return {name: masks for name, masks in regions.items() if name not in ("face", "expressed")}
    edges = np.linspace(0, shape[1], 4).round().astype(int)
    masks = {name: np.zeros(shape, bool) for name in THIRDS}
    for i, mask in enumerate(masks.values()):
        mask[:, edges[i] : edges[i + 1]] = True
    return masks


def lifts(explainer: Explainer, maps: ndarray, labels: ndarray, parts: Mapping[str, ndarray]) -> DataFrame:
    """Class x part: the part's share of the maps' positive energy over its share of the picture; 1: no preference."""
    columns = {}
    for name, masks in parts.items():
        inside = localisation.as_input(masks, explainer.classifier.preprocess)
        shares = {"energy": localisation.energy(maps, inside), "area": localisation.area(inside), "label": labels}
        means = DataFrame(shares).groupby("label", sort=False).mean()
        columns[name] = means["energy"] / means["area"]
    return DataFrame(columns).dropna(how="all")


def notes(
    name: str,
    explainer: Explainer,
    evidence: Evidence,
    maps: Mapping[str, Maps],
    predictions: DataFrame,
    labels: ndarray,
    parts: Mapping[str, ndarray],
) -> list[str]:
    """Seed 001's interpretability notes (section 15) of one model, each sentence from this run's figures."""
    believed = ", ".join(METHODS[method].title for method in evidence.believed())
    lines = [f"{name}: believe {believed or 'no method: none passed every check'}."]
    for method, verdict in evidence.verdicts().items():
        if verdict != BELIEVE:
            lines.append(f"  {METHODS[method].title}: {verdict}.")
    # Where the most believable method looks, class by class.
    best = evidence.best()
    places = [_looked_at(label, row) for label, row in lifts(explainer, maps[best].values, labels, parts).iterrows()]
    title = METHODS[best].title
    lines.append(f"  Where {title} sees it, in multiples of the part's area: {'; '.join(places)}.")
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    pairs = wrong.groupby(["label", "predicted"]).size().nlargest(3)
    commonest = ", ".join(f"{label} as {predicted} ({n})" for (label, predicted), n in pairs.items())
    lines.append(f"  Mistakes, {len(wrong)} of {len(predictions)} faces; the commonest: {commonest or 'none'}.")
    return lines


def _looked_at(label: str, lifts: Series) -> str:
    """The two parts that the maps of a class prefer most."""
    top = lifts[lifts >= ENOUGH].sort_values(ascending=False)[:2]
    named = ", ".join(f"{part} ({lift:.1f})" for part, lift in top.items())
    return f"{label} at {named or 'no part'}"
