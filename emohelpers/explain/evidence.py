"""Every check of a model's maps with an interval, and the method that is most to be believed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers.config.registry import METHODS
from emohelpers.explain import faithfulness, localisation
from emohelpers.explain.explainer import Explainer
from emohelpers.explain.methods import Maps
from emohelpers.explain.verdicts import BELIEVE, CONTROLS, Figures, faults, verdict
from emohelpers.metrics import bootstrap

CHEAP = 4  # times as many random nets for deterministic methods, which cost next to nothing

Scores = dict[str, ndarray]  # name of a check -> one number a face (n,), NaN where it cannot be asked


@dataclass(frozen=True)
class Evidence:
    """What was measured on one model's maps of the same faces."""

    figures: dict[str, Figures]  # method -> figures
    curves: dict[str, dict[str, ndarray]]  # method or control -> deletion, insertion: mean (steps + 1,)
    agreement: DataFrame  # mean rank correlation, method x method
    refused: dict[str, str]  # method -> why it has no maps of this model

    def verdicts(self) -> dict[str, str]:
        """Method -> "believe", or what speaks against it."""
        measured = {method: verdict(figures) for method, figures in self.figures.items()}
        return measured | {method: f"not: {reason}" for method, reason in self.refused.items()}

    def believed(self) -> list[str]:
        """The methods that passed every check."""
        return [method for method, text in self.verdicts().items() if text == BELIEVE]

    def best(self, among: Collection[str] = ()) -> str:
        """The method with the fewest faults, then the widest gap between insertion and deletion; `among` these if any
        of them was measured."""
        methods = [method for method in self.figures if method in among] or list(self.figures)

        def rank(method: str) -> tuple[int, float]:
            figures = self.figures[method]
            gap = figures["insertion"]["value"] - figures["deletion"]["value"]
            return len(faults(figures)), -gap

        return min(methods, key=rank)

    def table(self) -> DataFrame:
        """One row a method: the verdict, then each figure with its interval in brackets."""
        rows = {}
        for method, text in self.verdicts().items():
            row = {"verdict": text}
            for name, figure in self.figures.get(method, {}).items():
                row[name] = "{value:.2f} [{low:.2f}, {high:.2f}]".format(**figure) if figure["n"] else ""
            rows[METHODS[method].title] = row
        return DataFrame(rows).T.fillna("")


def measure(
    explainer: Explainer,
    squares: ndarray,
    targets: ndarray,
    groups: ndarray,
    maps: Mapping[str, Maps],
    *,
    regions: ndarray | None = None,
    few: ndarray | None = None,
) -> Evidence:
    """The evidence for the `maps` of pictures (n, s, s, 3) and classes (n,) by each method.

    Args:
        groups: (n,) of which whole ones are drawn again for the intervals.
        regions: masks (n, s, s) bool of where the class shows, if anyone knows: an empty mask leaves its face out.
        few: rows on which what needs more maps is measured (random weights, seeds, other classes); None: all.
    """
    few = np.arange(len(targets)) if few is None else few
    few_squares = squares[few]
    few_targets = targets[few]
    few_groups = groups[few]
    values = {method: method_maps.values for method, method_maps in maps.items()}

    def summary(scores: Scores, groups: ndarray) -> Figures:
        resamples = explainer.cfg.bootstrap
        return {name: bootstrap.mean(score, groups, resamples=resamples) for name, score in scores.items()}

    # The dearest measurements are made for all methods together.
    curves = _curves(explainer, squares, targets, values)
    areas = {name: faithfulness.areas(curve) for name, curve in curves.items()}
    masks = None if regions is None else localisation.as_input(regions, explainer.classifier.preprocess)
    few_values = {method: value[few] for method, value in values.items()}
    randomised = _random_weights(explainer, few_squares, few_targets, few_values)
    figures = {}
    for method, value in values.items():
        # What one map a face can answer.
        figures[method] = summary(_gains(areas, method), groups)
        if masks is not None:
            figures[method] |= summary(_localisation(value, masks), groups)
        # What needs more maps: of nets with random weights, of another class, with another seed.
        likeness = randomised[method]
        # The correlations come net after net, so the faces' groups are repeated as often.
        figures[method] |= summary({"random_weights": likeness}, np.resize(few_groups, len(likeness)))
        repeated = _repeated(explainer, method, few_squares, few_targets, few_values[method])
        figures[method] |= summary(repeated, few_groups)
        if maps[method].fit is not None:
            figures[method] |= summary({"fit": maps[method].fit}, groups)
    mean_curves = {name: {check: curve.mean(0) for check, curve in both.items()} for name, both in curves.items()}
    return Evidence(figures, mean_curves, faithfulness.agreement(values), dict(explainer.refused))


def _curves(explainer: Explainer, squares, targets, values: Mapping[str, ndarray]) -> dict[str, Scores]:
    """Method or control -> deletion and insertion curves (n, steps + 1)."""
    cfg = explainer.cfg
    inputs = explainer.classifier.inputs(squares)
    shape = (len(squares), *inputs.shape[2:])

    def curves(maps: ndarray) -> Scores:
        return faithfulness.deletion_insertion(
            explainer.classifier, inputs, targets, maps, steps=cfg.steps, seed=cfg.seed
        )

    by_chance = [curves(faithfulness.random_maps(shape, cfg.seed + i)) for i in range(cfg.controls)]
    by_method = {method: curves(maps) for method, maps in values.items()}
    centre = curves(faithfulness.centre_maps(shape))
    random = {check: np.mean([run[check] for run in by_chance], axis=0) for check in ("deletion", "insertion")}
    return by_method | {"centre": centre, "random": random}


def _gains(areas: Mapping[str, Scores], method: str) -> Scores:
    """Deletion and insertion, each followed by its gain over the controls: less is better, and more is better."""
    scores = {}
    for check, sign in (("deletion", -1), ("insertion", 1)):
        area = areas[method][check]
        scores[check] = area
        for control in CONTROLS:
            scores[f"{check}_{control}"] = sign * (area - areas[control][check])
    return scores


def _localisation(maps: ndarray, masks: ndarray) -> Scores:
    hits = localisation.pointing(maps, masks)
    centre_hits = localisation.pointing(faithfulness.centre_maps(maps.shape), masks)
    return {
        "pointing": hits,
        "pointing_centre": hits - centre_hits,
        "energy": localisation.energy(maps, masks),
        "area": localisation.area(masks),
    }


def _random_weights(explainer: Explainer, squares, targets, values: Mapping[str, ndarray]) -> Scores:
    """Method -> rank correlations of its maps with those of nets with random weights, net after net."""
    cfg = explainer.cfg
    inputs = explainer.classifier.inputs(squares)
    likeness = {method: [] for method in values}
    for i in range(cfg.random_weights * CHEAP):
        random_net = faithfulness.randomised(explainer.classifier, inputs, cfg.seed + i)
        for method, maps in values.items():
            # Methods that draw samples cost most and see only the first nets.
            if i < cfg.random_weights or METHODS[method].deterministic:
                blank = explainer.maps(method, squares, targets, seed=cfg.seed, classifier=random_net, check=False)
                likeness[method].append(faithfulness.rank_correlation(maps, blank.values))
    return {method: np.concatenate(correlations) for method, correlations in likeness.items()}


def _repeated(explainer: Explainer, method: str, squares, targets, maps: ndarray) -> Scores:
    """Rank correlations of the maps with those of another class, and with those of another seed."""
    seed = explainer.cfg.seed
    next_class = (targets + 1) % len(explainer.classifier.classes)
    turned = explainer.maps(method, squares, next_class, seed=seed, check=False)
    scores = {"other_class": faithfulness.rank_correlation(maps, turned.values)}
    if not METHODS[method].deterministic:
        again = explainer.maps(method, squares, targets, seed=seed + 1, check=False)
        scores["stability"] = faithfulness.rank_correlation(maps, again.values)
    return scores
