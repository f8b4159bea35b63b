"""Which method to believe for a model: every check of its maps with an interval, and the verdict that follows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emohelpers.explain import faithfulness, localisation
from emohelpers.explain.explainer import DETERMINISTIC, TITLES, Explainer, Made
from emohelpers.metrics import bootstrap

NEAR_ZERO = 0.1  # mean rank correlation up to which maps of random weights count as unrelated
ALIKE = 0.9  # rank correlation from which the maps of two classes count as one
CHEAP = 4  # times as many random nets for methods that cost next to nothing
STABLE = 0.7  # rank correlation that two seeds must reach


@dataclass(frozen=True)
class Evidence:
    """What was measured on one model's maps of the same faces."""

    figures: dict[str, dict[str, Any]]  # method -> figure -> {"value", "low", "high", "n"}
    curves: dict[str, dict[str, np.ndarray]]  # method or control -> deletion, insertion: mean (steps + 1,)
    agreement: pd.DataFrame  # mean rank correlation, method x method
    refused: dict[str, str]  # method -> why it has no maps of this model

    def verdicts(self) -> dict[str, str]:
        """Method -> "believe", or what speaks against it."""
        told = {method: verdict(found) for method, found in self.figures.items()}
        return told | {method: f"not: {why}" for method, why in self.refused.items()}

    def table(self) -> pd.DataFrame:
        """One row a method: each figure with its interval in brackets, and the verdict first."""
        rows = {
            TITLES[method]: {"verdict": told}
            | {name: _shown(figure) for name, figure in self.figures.get(method, {}).items()}
            for method, told in self.verdicts().items()
        }
        return pd.DataFrame(rows).T.fillna("")


def measure(
    explainer: Explainer, squares: np.ndarray, targets: np.ndarray, groups: np.ndarray, made: Mapping[str, Made], *,
    regions: np.ndarray | None = None, few: np.ndarray | None = None,
) -> Evidence:  # fmt: skip
    """The evidence for the maps `made` of pictures (n, s, s, 3) and classes (n,).

    Args:
        groups: (n,) of which whole ones are drawn again for the intervals.
        regions: masks (n, s, s) bool of where the class shows, if anyone knows: an empty mask leaves its face out.
        few: rows on which what needs more maps is measured (random weights, seeds, other classes); None: all.
    """
    cfg, subject, rows = explainer.cfg, explainer.subject, np.arange(len(targets)) if few is None else few
    inputs = subject.inputs(squares)
    maps = {method: one.maps for method, one in made.items()}
    shape = next(iter(maps.values())).shape
    centre = faithfulness.centre_maps(shape)
    chance = [faithfulness.random_maps(shape, cfg.seed + i) for i in range(cfg.controls)]
    masks = None if regions is None else localisation.as_input(regions, subject.preprocess)

    def drop(one: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return faithfulness.deletion_insertion(subject, inputs, targets, one, steps=cfg.steps, seed=cfg.seed)

    def figure(values: np.ndarray, of: np.ndarray = groups) -> dict[str, float]:
        return bootstrap.mean(values, of, resamples=cfg.bootstrap)

    drawn = [drop(one) for one in chance]
    runs = {method: drop(one) for method, one in maps.items()}
    runs |= {"centre": drop(centre), "random": tuple(np.mean([run[i] for run in drawn], axis=0) for i in (0, 1))}
    areas = {name: [faithfulness.area_under(curve) for curve in run] for name, run in runs.items()}
    unlike = _randomised(explainer, squares[rows], targets[rows], {method: one[rows] for method, one in maps.items()})
    found: dict[str, dict[str, Any]] = {}
    for method, one in maps.items():
        own = found[method] = {}
        for i, (name, sign) in enumerate((("deletion", -1), ("insertion", 1))):
            own[name] = figure(areas[method][i])
            for control in ("random", "centre"):
                own[f"{name}_{control}"] = figure(sign * (areas[method][i] - areas[control][i]))
        if masks is not None:
            hit, base = (localisation.pointing(each, masks) for each in (one, centre))
            own |= {"pointing": figure(hit), "pointing_centre": figure(hit - base)}
            own |= {"energy": figure(localisation.energy(one, masks)), "area": figure(localisation.area(masks))}
        own["random_weights"] = figure(unlike[method], np.resize(groups[rows], len(unlike[method])))
        own |= _repeated(explainer, method, squares[rows], targets[rows], one[rows], groups[rows], figure)
        if made[method].fit is not None:
            own["fit"] = figure(made[method].fit)
    curves = {name: {"deletion": run[0].mean(0), "insertion": run[1].mean(0)} for name, run in runs.items()}
    return Evidence(found, curves, faithfulness.agreement(maps), dict(explainer.refused))


def _randomised(explainer: Explainer, squares, targets, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Method -> rank correlations of its maps with those of nets with random weights, net after net."""
    cfg, related = explainer.cfg, {method: [] for method in maps}
    for i in range(cfg.random_weights * CHEAP):
        blank = faithfulness.randomised(explainer.subject, explainer.subject.inputs(squares), cfg.seed + i)
        for method, one in maps.items():
            if i < cfg.random_weights or method in DETERMINISTIC:
                other = explainer.make(method, squares, targets, seed=cfg.seed, subject=blank, check=False).maps
                related[method].append(faithfulness.rank_correlation(one, other))
    return {method: np.concatenate(found) for method, found in related.items()}


def _repeated(explainer: Explainer, method, squares, targets, maps, groups, figure) -> dict[str, Any]:
    """What needs the maps once more: for another class, with another seed."""
    cfg, own = explainer.cfg, {}
    turned = (targets + 1) % len(explainer.subject.classes)
    other = explainer.make(method, squares, turned, seed=cfg.seed, check=False).maps
    own["other_class"] = figure(faithfulness.rank_correlation(maps, other), groups)
    if method not in DETERMINISTIC:
        again = explainer.make(method, squares, targets, seed=cfg.seed + 1, check=False).maps
        own["stability"] = figure(faithfulness.rank_correlation(maps, again), groups)
    return own


def verdict(found: Mapping[str, Mapping[str, float]]) -> str:
    """The word "believe" where every check holds, else what does not; of an interval the worse end counts."""
    faults = []
    controls = [(way, f"{way}_{control}") for way in ("deletion", "insertion") for control in ("random", "centre")]
    if weak := dict.fromkeys(way for way, gain in controls if not found[gain]["low"] > 0):
        faults.append(f"{' and '.join(weak)} no better than a control")
    if not abs(found["random_weights"]["value"]) <= NEAR_ZERO:
        faults.append("random weights give related maps")
    if found["other_class"]["value"] >= ALIKE:
        faults.append("the same map for every class")
    if "stability" in found and not found["stability"]["value"] >= STABLE:
        faults.append("another seed gives another map")
    if "pointing" in found and found["pointing_centre"]["low"] <= 0:
        faults.append("points no better than at the centre")
    return f"not: {'; '.join(faults)}" if faults else "believe"


def best(evidence: Evidence, among: Collection[str] = ()) -> str:
    """The method with the fewest faults, then the widest gap between insertion and deletion; of `among` if one is."""
    figures = {name: found for name, found in evidence.figures.items() if name in among} or evidence.figures
    gap = {name: found["insertion"]["value"] - found["deletion"]["value"] for name, found in figures.items()}
    faults = {
        name: 0 if (text := verdict(found)) == "believe" else 1 + text.count(";") for name, found in figures.items()
    }
    return min(figures, key=lambda name: (faults[name], -gap[name]))


def _shown(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]" if figure["n"] else ""
