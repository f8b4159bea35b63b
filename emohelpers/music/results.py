"""What notebook 07 found: the comparison on the same real songs, beside the claim and the ceiling, and in sentences."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emohelpers import models, train
from emohelpers.config import files
from emohelpers.datasets.labels import TARGETS
from emohelpers.metrics import regression

ELSEWHERE = {  # DEAM, other songs and splits: not paired with anything here
    "DEAM: best published (R2 .52 and .62, stretched)": (0.72, 0.79),  # Music2Emo, github.com/AMAAI-Lab/Music2Emotion
    "DEAM: the original's claim": (0.75, 0.75),  # seed 004
    "DEAM: the original's own check on 20 real songs": (0.17, 0.31),  # recomputed from its files
}


def comparison(contenders: Mapping[str, pd.DataFrame], resamples: int) -> pd.DataFrame:
    """`regression.table` of all contenders, then what others say of DEAM, without interval."""
    here = regression.table(contenders, resamples=resamples)
    there = [{f"CCC {t}": f"{v:.2f}" for t, v in zip(TARGETS, pair, strict=True)} for pair in ELSEWHERE.values()]
    return pd.concat([here, pd.DataFrame(there, index=list(ELSEWHERE))]).astype(object).fillna("")


def networks(fits: Mapping[str, train.Fit], contenders: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The original's table of its two nets, measured: parameters, input, epochs, seconds and mean CCC on test songs."""
    rows = []
    for who, fit in fits.items():
        true, guess, _ = regression.read(contenders[who])
        side = fit.model.spec["img_size"]
        channels = len(fit.model.spec["preprocess"]["mean"])
        shape = (channels, *(side if isinstance(side, list) else (side, side)))
        row = {"net": who, "parameters": models.count(fit.model)["parameters"], "input": str(shape)}
        row |= {"best epoch": f"{fit.best['epoch']} of {len(fit.history)}", "seconds": round(fit.seconds, 1)}
        rows.append(row | {"mean CCC": round(float(regression.ccc(true, guess).mean()), 3)})
    return pd.DataFrame(rows).set_index("net")


def learned(
    contenders: Mapping[str, pd.DataFrame], paired: pd.DataFrame, checks: pd.DataFrame, *, resamples: int, demo: bool
) -> None:
    """Prints what a run showed, in sentences that follow from its figures alone.

    Args:
        contenders: the first is the mean predictor. paired: `regression.compare` of the ViT without and with synthetic.
    """
    first, *others = contenders
    lines = []
    for who in others:
        told = regression.compare(contenders[first], contenders[who], resamples=resamples)
        ccc = told[told["figure"] == "ccc"].set_index("target")
        parts = [f"{t} {ccc['b'][t]:.2f} ({ccc['low'][t]:.2f} to {ccc['high'][t]:.2f})" for t in TARGETS]
        sure = [t for t in TARGETS if ccc["low"][t] > 0]
        clear = "both above" if len(sure) == 2 else f"{sure[0]} alone is above" if sure else "neither is surely above"
        lines.append(f"{who}: CCC {', '.join(parts)}; {clear} the {first}.")
    ccc = paired[paired["figure"] == "ccc"].set_index("target")
    for t in TARGETS:
        word = {"better": "helped", "worse": "harmed"}.get(
            ccc["verdict"][t], "made no difference that these songs can show"
        )
        gain = f"{ccc['difference'][t]:+.3f} ({ccc['low'][t]:+.3f} to {ccc['high'][t]:+.3f})"
        lines.append(f"Synthetic clips {word} for {t}: CCC {gain}, paired on {ccc['n'][t]} real songs.")
    read = checks.filter(like="read back", axis=0)["synthetic"].to_numpy()
    lines.append(
        f"A reader that knows real songs alone reads the wanted valence and arousal back with CCC {read[0]:.2f} and "
        f"{read[1]:.2f}. That the clips show what was asked for does not yet make them useful; the line above says it."
    )
    if demo:
        lines.append(
            "All of this is about synthesised songs: it shows that the machinery works, and says nothing of music."
        )
    print("\n".join(lines))


def predictions(contenders: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One table of all contenders' predictions, with the column `contender`."""
    return pd.concat([table.assign(contender=who) for who, table in contenders.items()], ignore_index=True)


def archive(folder: str | Path, names: Sequence[str], name: str = "vit_output.zip") -> Path:
    """Packs files of a run; raises FileNotFoundError naming those that are missing."""
    folder = Path(folder)
    if missing := [n for n in names if not (folder / n).is_file()]:
        raise FileNotFoundError(f"missing in {folder}: {', '.join(missing)}. Run the cells above that write them")
    with files.replace(folder / name) as temp, zipfile.ZipFile(temp, "w") as packed:
        for n in names:  # weights and pictures do not shrink: stored, not deflated
            packed.write(folder / n, n)
    return folder / name


def values(checks: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The checks as plain numbers for metrics.json."""
    return {
        name: {"synthetic": float(np.float64(row.synthetic)), "real": float(row.real)}
        for name, row in checks.iterrows()
    }
