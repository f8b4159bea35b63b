"""What notebook 07 showed: the comparison on the same real songs, beside what others claim, and in sentences."""

import zipfile
from collections.abc import Sequence

import pandas as pd
from pandas import DataFrame

from emohelpers import models
from emohelpers.config import files
from emohelpers.datasets.labels import TARGETS
from emohelpers.metrics import regression
from emohelpers.music.collection import Collection
from emohelpers.music.contenders import Contender
from emohelpers.music.realism import read_back
from emohelpers.report.run import Run

ELSEWHERE = {  # DEAM, other songs and splits: not paired with anything here
    "DEAM: best published (R2 .52 and .62, stretched)": (0.72, 0.79),  # Music2Emo, github.com/AMAAI-Lab/Music2Emotion
    "DEAM: the original's claim": (0.75, 0.75),  # seed 004
    "DEAM: the original's own check on 20 real songs": (0.17, 0.31),  # recomputed from its files
}
ARCHIVE = (  # of the files that a run writes, those of vit_output.zip (seed 004)
    "best_vit_model.pth",
    "generator.pth",
    "discriminator.pth",
    "synthetic.csv",
    "real_vs_synthetic.png",
    "predictions.csv",
    "metrics.json",
    "config.json",
    "splits.csv",
    "curves.png",
    "scatter.png",
)
WORDS = {"better": "helped", "worse": "harmed", "undecided": "made no difference that these songs can show"}


def comparison(contenders: Sequence[Contender], resamples: int) -> DataFrame:
    """`regression.table` of all contenders, then what others say of DEAM, without interval."""
    here = regression.table({entry.name: entry.predictions for entry in contenders}, resamples=resamples)
    columns = [f"CCC {target}" for target in TARGETS]
    there = DataFrame.from_dict(ELSEWHERE, orient="index", columns=columns).map("{:.2f}".format)
    return pd.concat([here, there]).astype(object).fillna("")


def networks(contenders: Sequence[Contender]) -> DataFrame:
    """The original's table of its two nets, measured: parameters, input, epochs, seconds and mean CCC on test songs."""
    rows = {}
    for contender in contenders:
        fit = contender.training
        if fit is None:
            continue
        side = fit.model.spec["img_size"]
        height, width = side if isinstance(side, list) else (side, side)
        rows[contender.name] = {
            "parameters": models.count(fit.model)["parameters"],
            "input": str((len(fit.model.spec["preprocess"]["mean"]), height, width)),
            "best epoch": f"{fit.best['epoch']} of {len(fit.history)}",
            "seconds": round(fit.seconds, 1),
            "mean CCC": round(float(contender.ccc.mean()), 3),
        }
    return DataFrame.from_dict(rows, orient="index").rename_axis("net")


def paired(a: Contender, b: Contender, resamples: int) -> DataFrame:
    """`regression.compare` of two contenders: b - a on the same songs."""
    return regression.compare(a.predictions, b.predictions, resamples=resamples)


def save(
    run: Run,
    songs: Collection,
    contenders: Sequence[Contender],
    differences: DataFrame,
    checks: DataFrame,
    seconds: float,
) -> None:
    """Writes best_vit_model.pth, predictions.csv, metrics.json, results.txt with the sentences, and vit_output.zip.

    Args:
        differences: of `paired`, the ViT without and with synthetic clips. checks: of `realism.check`.
        seconds: of the GAN's training.
    """
    nets = [contender for contender in contenders if contender.training]
    best = max(nets[1:], key=lambda contender: contender.training.best["val_ccc"])  # the first is the small transformer
    files.write_bytes(run / "best_vit_model.pth", best.training.checkpoint.read_bytes())
    tables = [contender.predictions.assign(contender=contender.name) for contender in contenders]
    files.write_csv(pd.concat(tables, ignore_index=True), run / "predictions.csv")

    run.save(
        figures([best, *contenders], run.cfg.bootstrap),  # the page of results headlines the first
        split=songs.digest,
        seconds=seconds + sum(contender.training.seconds for contender in nets),
        fold=run.cfg.fold,
        checks=checks.drop(columns="meaning").to_dict("index"),
        counts=songs.counts,
        paired=differences.to_dict("records"),
        nets=networks(contenders).to_dict("index"),
    )
    lines = sentences(contenders, differences, checks, run.cfg.bootstrap)
    if run.demo:
        lines.append(f"All of this is about {run.demo}: it shows that the machinery works, and says nothing of music.")
    run.text("results.txt", "\n".join(lines))
    archive(run)


def figures(contenders: Sequence[Contender], resamples: int) -> dict[str, dict[str, float]]:
    """Name, "contender, figure", -> value, interval and n."""
    scores = {contender.name: regression.scores(contender.predictions, resamples=resamples) for contender in contenders}
    return {f"{name}, {figure}": row for name, rows in scores.items() for figure, row in rows.items()}


def sentences(contenders: Sequence[Contender], differences: DataFrame, checks: DataFrame, resamples: int) -> list[str]:
    """What a run showed, in sentences that follow from its figures alone.

    Args:
        contenders: the first is the mean predictor.
    """
    first, *rivals = contenders
    lines = []
    for rival in rivals:
        rows = _ccc(paired(first, rival, resamples))
        figures = [f"{row.target} {row.b:.2f} ({row.low:.2f} to {row.high:.2f})" for row in rows]
        above = [row.target for row in rows if row.low > 0]
        verdict = {0: "neither is surely above", 1: f"{''.join(above)} alone is above", 2: "both above"}[len(above)]
        lines.append(f"{rival.name}: CCC {', '.join(figures)}; {verdict} the {first.name}.")
    for row in _ccc(differences):
        gain = f"CCC {row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        lines.append(f"Synthetic clips {WORDS[row.verdict]} for {row.target}: {gain}, paired on {row.n} real songs.")
    valence, arousal = read_back(checks)
    lines.append(
        f"A reader that knows real songs alone reads the valence and arousal of the clips back with CCC {valence:.2f} "
        f"and {arousal:.2f}. Clips that show what they were composed for are not yet useful: the line above says it."
    )
    return lines


def _ccc(compared: DataFrame) -> list:
    """The rows of CCC, one a target."""
    return list(compared[compared["figure"] == "ccc"].itertuples())


def archive(run: Run) -> None:
    """Packs `ARCHIVE` as vit_output.zip; raises FileNotFoundError naming the files that are missing."""
    if missing := [name for name in ARCHIVE if not (run / name).is_file()]:
        raise FileNotFoundError(f"missing in {run.folder}: {', '.join(missing)}. Run the cells above that write them")
    with files.replace(run / "vit_output.zip") as temp, zipfile.ZipFile(temp, "w") as packed:
        for name in ARCHIVE:  # weights and pictures do not shrink: stored, not deflated
            packed.write(run / name, name)
