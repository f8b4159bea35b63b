"""What a model looks at, in words: the share of its maps in each part of the face, written from the figures alone."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emohelpers.explain import belief, localisation
from emohelpers.explain.explainer import TITLES, Explainer, Made

ENOUGH = 1.2  # times its area, from which a part counts as looked at


def zones(known: Mapping[str, np.ndarray] | None, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Masks (n, s, s) of the parts of each face where they are known, else the thirds of the picture."""
    if known is not None:
        return {name: masks for name, masks in known.items() if name not in ("face", "expressed")}
    edges = np.linspace(0, shape[1], 4).round().astype(int)
    made = {}
    for i, name in enumerate(("upper third", "middle third", "lower third")):
        made[name] = np.zeros(shape, bool)
        made[name][:, edges[i] : edges[i + 1]] = True
    return made


def lifts(
    explainer: Explainer, maps: np.ndarray, labels: Sequence[str], parts: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Class x part: the part's share of the maps' positive energy over its share of the picture; 1: no preference."""
    labels, columns = np.asarray(labels), {}
    for name, masks in parts.items():
        inside = localisation.as_input(masks, explainer.subject.preprocess)
        energy, area = localisation.energy(maps, inside), localisation.area(inside)
        columns[name] = {
            label: np.nanmean(energy[labels == label]) / np.nanmean(area[labels == label])
            for label in dict.fromkeys(labels)
            if np.isfinite(area[labels == label]).any()
        }
    return pd.DataFrame(columns)


def notes(
    explainers: Mapping[str, Explainer], made: Mapping[str, Mapping[str, Made]],
    evidence: Mapping[str, belief.Evidence], judged: Mapping[str, pd.DataFrame], labels: Sequence[str],
    parts: Mapping[str, np.ndarray], *, demo: bool,
) -> list[str]:  # fmt: skip
    """Seed 001's interpretability notes (section 15), each sentence from this run's figures."""
    lines = []
    for name, explainer in explainers.items():
        verdicts, own = evidence[name].verdicts(), made[name]
        trusted = [method for method, text in verdicts.items() if text == "believe"]
        told = ", ".join(TITLES[method] for method in trusted) or "no method: none passed every check"
        lines.append(f"{name}: believe {told}.")
        lines += [f"  {TITLES[method]}: {text}." for method, text in verdicts.items() if method not in trusted]
        method = belief.best(evidence[name])
        table = lifts(explainer, own[method].maps, labels, parts)
        seen = []
        for label, row in table.iterrows():
            top = row[row >= ENOUGH].sort_values(ascending=False)[:2]
            seen.append(f"{label} at " + (", ".join(f"{part} ({lift:.1f})" for part, lift in top.items()) or "no part"))
        lines.append(f"  Where {TITLES[method]} sees it, in multiples of the part's area: {'; '.join(seen)}.")
        wrong = judged[name][judged[name]["label"] != judged[name]["predicted"]]
        pairs = wrong.groupby(["label", "predicted"]).size().nlargest(3)
        told = ", ".join(f"{label} as {said} ({n})" for (label, said), n in pairs.items()) or "none"
        lines.append(f"  Mistakes, {len(wrong)} of {len(judged[name])} faces; the commonest: {told}.")
    if demo:
        lines.append("All of this is about drawn faces: it shows that the checks work, and says nothing of people.")
    return lines
