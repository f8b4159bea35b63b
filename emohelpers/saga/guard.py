"""The guard: every edit against every gate that is on, with the reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from pandas import DataFrame, Series

from emohelpers.config.registry import GATES
from emohelpers.datasets.edits import Combined
from emohelpers.metrics import bootstrap
from emohelpers.saga.gates import Gate, Sample
from emohelpers.saga.sentences import SENTENCES

FACES = 1000  # of a part, at most, behind a calibration
REFUSED = "refused_"  # begins the name of a gate's column in the table of edits


@dataclass(frozen=True)
class Guard:
    """Gates that are on, in order, and what is recorded of them."""

    gates: list[Gate]
    record: DataFrame  # gate -> state, threshold, false_accept (stated share), n faces it was set on

    def judge(self, faces: ndarray, edits: ndarray, targets: Sequence[str]) -> DataFrame:
        """A row an edit: scores, `refused_<gate>`, `accepted` and `reason` (the gates that refuse it).

        Args:
            faces, edits: (n, side, side, 3) uint8.
        """
        columns: dict[str, ndarray] = {}
        refusals = {}
        for gate in self.gates:
            scores = gate.score(faces, edits, targets)
            columns |= scores
            refusals[gate.name] = ~gate.passes(scores, targets)
        columns |= {f"{REFUSED}{name}": flags for name, flags in refusals.items()}
        table = DataFrame(columns, index=range(len(edits)))
        table["reason"] = [_reason(refusals, row) for row in range(len(edits))]
        table["accepted"] = table["reason"] == ""
        return table


def build_guard(cfg, faces) -> Guard:
    """The guard of a config, its thresholds by hand or calibrated on the validation part.

    Args:
        cfg: a `config.Saga`; `faces` are split and guarded.

    Raises:
        GateError: a gate that is on cannot run. None is left out silently.
    """
    sample = _sample(cfg, faces)
    rng = np.random.default_rng(cfg.seed)
    gates = []
    rows = []
    for name, kind in GATES.items():
        if name in cfg.gates_off:
            rows.append((name, "off", "", None, 0))
            continue
        gate = kind.of(cfg, sample)
        if cfg.false_accept:
            gate.calibrate(sample, cfg.false_accept, rng)
        gates.append(gate)
        rows.append((name, "on", gate.threshold, cfg.false_accept, len(sample.labels) if cfg.false_accept else 0))
    record = DataFrame(rows, columns=["gate", "state", "threshold", "false_accept", "n"])
    return Guard(gates, record.set_index("gate"))


def acceptance(edits: DataFrame, classes: Sequence[str]) -> DataFrame:
    """By target class: edits tried, accepted, the share, and how many each gate refused (one edit may fail several)."""
    flags = edits.filter(regex=f"^{REFUSED}").eq(True)
    counted = {"tried": 1, "accepted": edits["accepted"], **_by_gate(flags)}
    columns = DataFrame({**counted, "declined": edits["reason"].str.startswith("editor:")}, index=edits.index)
    table = columns.astype(int).groupby(edits["label"]).sum()
    table = table.reindex(list(classes), fill_value=0).rename_axis("class")
    table.loc["all"] = table.sum()
    tried = table["tried"].where(table["tried"] > 0)
    table.insert(2, "share", (table["accepted"] / tried).round(3))
    return table


def facts(guard: Guard, edits, planted: DataFrame, combined: Combined) -> dict[str, Any]:
    """What metrics.json says of a run of notebook 02, as arguments of `Run.save`."""
    tried = edits.table
    return {
        "figures": {"edits_accepted": bootstrap.mean(tried["accepted"].to_numpy(float), tried["parent"])},
        "seconds": edits.seconds,
        "accepted": len(edits.accepted),
        "removed": len(combined.removed),
        "left": combined.left,
        "editor": edits.editor,
        "gates": guard.record.reset_index(),
        "planted": planted.to_dict("index"),
    }


def learned(accepted: DataFrame, planted: DataFrame, combined: Combined, demo: bool) -> str:
    """What a run of 02 showed, in sentences that follow from `acceptance`, `planted` and `combine.Combined`."""
    classes = accepted.drop(index="all")
    hardest = classes[classes["tried"] > 0].sort_values("share").head(1)
    sizes = combined.counts.drop(index="all")
    smallest = sizes.min() / sizes.max()
    wrong = planted["refused"].drop("as edited")
    return SENTENCES.guard(accepted.loc["all"], hardest["share"].to_dict(), wrong, smallest, combined, demo)


def _reason(refusals: dict[str, ndarray], row: int) -> str:
    return ", ".join(name for name, flags in refusals.items() if flags[row])


def _by_gate(flags: DataFrame) -> dict[str, Series]:
    return {name.removeprefix(REFUSED): flags[name] for name in flags}


def _sample(cfg, faces) -> Sample:
    """Faces of the training and the validation part: photographs alone."""
    table = faces.table
    photographs = table[(table["source"] == "original") & (table["parent"] == "")]
    pictures = {}
    rows = {}
    for part in ("train", "val"):
        rows[part] = photographs[photographs["split"] == part]
        rows[part] = rows[part].sample(min(len(rows[part]), FACES), random_state=cfg.seed)
        pictures[part] = faces.pixels.take(faces.pixels.rows(rows[part]["path"]))
    labels, groups = (rows["val"][name].to_numpy() for name in ("label", "group"))
    return Sample(pictures["train"], pictures["val"], labels, groups, tuple(faces.classes))
