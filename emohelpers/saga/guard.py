"""The guard: every edit against every gate that is on, with the reasons; and wrong edits that it must see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emohelpers.config import paths
from emohelpers.datasets import leaks
from emohelpers.datasets.decoding import decode
from emohelpers.datasets.pixels import Pixels
from emohelpers.saga import gates
from emohelpers.saga.gates import NAMES, Classifier, Clip, GateError, Identity, Ssim

BASELINE = ("01_baseline_training", "vit_baseline_best_model.pth")
FACES = 1000  # of a part, at most, behind a calibration


@dataclass(frozen=True)
class Guard:
    """Gates that are on, in order, and what is recorded of them."""

    gates: list
    record: pd.DataFrame  # gate -> state, threshold, false_accept (stated share), n faces it was set on

    def judge(self, faces: np.ndarray, edits: np.ndarray, targets: Sequence[str]) -> pd.DataFrame:
        """A row an edit: scores, `refused_<gate>`, `accepted` and `reason` (the gates that refuse it).

        Args:
            faces, edits: (n, side, side, 3) uint8.
        """
        scores, refused = {}, {}
        for gate in self.gates:
            scores |= gate.score(faces, edits, targets)
            refused[gate.name] = ~gate.passes(scores, targets)
        told = pd.DataFrame(
            {**scores, **{f"refused_{name}": flags for name, flags in refused.items()}}, index=range(len(edits))
        )
        told["reason"] = [", ".join(n for n in refused if refused[n][i]) for i in range(len(edits))]
        told["accepted"] = told["reason"] == ""
        return told


def build(cfg, pixels: Pixels, table: pd.DataFrame, classes: Sequence[str], checkpoint: str = "") -> Guard:
    """The guard of a config, its thresholds as given or calibrated on the validation part.

    Args:
        cfg: a `recipes.Saga`; `table` is split and guarded.
        checkpoint: notebook 01's, for the classifier gate; found in the same run if empty.

    Raises:
        GateError: a gate that is on cannot run. None is left out silently.
    """
    real = table[(table["source"] == "original") & (table["parent"] == "")]
    train, val = (_some(real[real["split"] == part], cfg.seed) for part in ("train", "val"))
    faces = pixels.take(pixels.rows(val["path"]))
    labels, groups = val["label"].to_numpy(), val["group"].to_numpy()
    made = {
        "ssim": lambda: Ssim(*cfg.ssim),
        "clip": lambda: Clip(cfg.clip_model, cfg.clip_floor),
        "classifier": lambda: Classifier(_baseline(cfg, checkpoint), cfg.p_target, classes),
        "identity": lambda: Identity(cfg.identity_floor, pixels.take(pixels.rows(train["path"]))),
    }
    on, rows, rng = [], [], np.random.default_rng(cfg.seed)
    for name in NAMES:
        if name in cfg.gates_off:
            rows.append((name, "off", "", None, 0))
            continue
        gate = made[name]()
        if name == "classifier":
            if apart := leaks.apart(gate.config, cfg):
                raise GateError(
                    f"classifier: the baseline was trained with another split: {apart}. Its temperature and thresholds "
                    "would stand on faces that it knows. Give both notebooks the same settings."
                )
            gate.fit_temperature(faces, labels)
        told = gate.calibrate(faces, labels, groups, cfg.false_accept, rng) if cfg.false_accept else given(gate)
        on.append(gate)
        rows.append((name, "on", told, cfg.false_accept, len(val) if cfg.false_accept else 0))
    return Guard(on, pd.DataFrame(rows, columns=["gate", "state", "threshold", "false_accept", "n"]).set_index("gate"))


def given(gate) -> str:
    """A gate's threshold in words, where it was set by hand."""
    if isinstance(gate, Ssim):
        return f"{gate.low:.2f} .. {gate.high:.2f}"
    if isinstance(gate, Classifier):
        return f"argmax, p >= {min(gate.floors.values()):.2f}"
    return f"> {gate.floor:g}"


def _some(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    return rows.sample(min(len(rows), FACES), random_state=seed)


def _baseline(cfg, checkpoint: str):
    try:
        return checkpoint or paths.find_result(*BASELINE, run=paths.run_name(cfg.preset), named=cfg.baseline)
    except paths.InputNotFound as error:
        off = 'Or switch the gate off by its name: OVERRIDES = {"gates_off": ["classifier"]}.'
        raise GateError(f"classifier: {error}\n{off}") from error


def planted(
    guard: Guard, faces: np.ndarray, edits: np.ndarray, targets: Sequence[str], groups: Sequence[str], *, seed: int
) -> pd.DataFrame:
    """How many wrong edits the guard refuses, by kind and gate; made from faces and their edits by mismatching them.

    Kinds: the face itself saved again; another person's edit to the same target; the edit offered as another emotion;
    noise. The first row has the edits as they are.
    """
    rng, targets, groups = np.random.default_rng(seed), np.asarray(targets, object), np.asarray(groups, object)
    n, names = len(edits), sorted(set(targets))
    same = [np.flatnonzero((targets == t) & (groups != g)) for t, g in zip(targets, groups, strict=True)]
    other = np.array(
        [
            rng.choice(rows) if len(rows) else rng.choice(np.flatnonzero(groups != g))
            for rows, g in zip(same, groups, strict=True)
        ]
    )
    again = np.stack([decode(gates.jpeg(face, 90)) for face in faces])
    claimed = np.array([rng.choice([name for name in names if name != t] or [t]) for t in targets], object)
    noise = rng.integers(0, 256, edits.shape).astype(np.uint8)
    kinds = {
        "as edited": (edits, targets),
        "unchanged face": (again, targets),
        "other person": (edits[other], targets),
        "wrong emotion": (edits, claimed),
        "noise": (noise, targets),
    }
    if len(names) < 2:
        del kinds["wrong emotion"]  # there is no other to claim
    return pd.DataFrame({kind: _refusals(guard.judge(faces, *offered), n) for kind, offered in kinds.items()}).T


def _refusals(told: pd.DataFrame, n: int) -> dict[str, float]:
    by_gate = {c.removeprefix("refused_"): float(told[c].mean()) for c in told if c.startswith("refused_")}
    return {"n": n, "refused": float(1 - told["accepted"].mean()), **by_gate}


def acceptance(told: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """By target class: edits tried, accepted, the share, and how many each gate refused (one edit may fail several)."""
    flags = [name for name in told if name.startswith("refused_")]
    rows = told.assign(**{name: told[name].eq(True) for name in flags}).groupby("label")
    table = pd.DataFrame({"tried": rows.size(), "accepted": rows["accepted"].sum()})
    table = table.join(rows[flags].sum().rename(columns=lambda name: name.removeprefix("refused_")))
    table["declined"] = rows["reason"].agg(lambda told: int(told.str.startswith("editor:").sum()))
    table = table.reindex(list(classes)).fillna(0).astype(int).rename_axis("class")
    table.loc["all"] = table.sum()
    share = (table["accepted"] / table["tried"].where(table["tried"] > 0)).astype(float).round(3)
    table.insert(2, "share", share)
    return table


def learned(accepted: pd.DataFrame, planted: pd.DataFrame, combined, *, demo: bool) -> str:
    """What a run of 02 showed, in sentences that follow from `acceptance`, `planted` and `combine.Combined`."""
    every, classes = accepted.loc["all"], accepted.drop(index="all")
    lines = [f"Of {every['tried']:,.0f} edits {every['share']:.0%} passed the guard."]
    asked = classes[classes["tried"] > 0].sort_values("share")
    if len(asked):
        lines.append(f"Hardest to make: {asked.index[0]} ({asked['share'].iloc[0]:.0%}).")
    wrong = planted.drop(index="as edited")["refused"]
    lines.append(f"Of planted wrong edits {wrong.min():.0%} to {wrong.max():.0%} of each kind were refused.")
    before, after = (combined.counts.drop(index="all")[name] for name in ("photographs", "all"))
    least = [f"{sizes.min() / sizes.max():.0%}" for sizes in (after, before)]
    lines.append(f"The smallest class now has {least[0]} of the largest, before {least[1]}.")
    lines.append(f"The leak guard took out {len(combined.removed):,} edits and left {combined.left} leaks.")
    if demo:
        lines.append("The faces are drawn: this shows that the machinery works, and says nothing of people.")
    return "\n".join(lines)
