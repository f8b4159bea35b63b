"""Trainings with none, some or all of the edits, over several seeds, and whether that helped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from emohelpers import config, metrics, train
from emohelpers.config import files, paths
from emohelpers.datasets import edits as combine
from emohelpers.metrics import bootstrap, calibrate, compare, reliability
from emohelpers.saga.ramp import Ramped, subset
from emohelpers.train import study
from emohelpers.train.study import Faces

Key = tuple[float, int]  # fraction of the edits, seed


@dataclass(frozen=True)
class Arm:
    """One training and what it says of the golden set."""

    fraction: float
    seed: int
    synthetic: int  # edits in its training part
    epochs: int
    predictions: pd.DataFrame
    fit: train.Fit | None  # None: notebook 01's, taken over
    status: str


def settings(cfg, *, seed: int, epochs: int):
    """The recipe of notebook 01 with the values of an `recipes.Augmented` config."""
    return config.with_settings(cfg, config.Baseline, seed=seed, epochs=epochs)


def fit(cfg, faces: Faces, fraction: float, seed: int, folder: str | Path, *, quiet: bool = True) -> Arm:
    """One arm: the recipe of 01 on the photographs and a fraction of the edits; finished ones are taken up again.

    With `cfg.same_steps` it gets as many optimizer steps as without edits: fewer epochs over more pictures, since more
    training alone would be an advantage.
    """
    table = subset(faces.table, fraction, cfg.synthetic_cap, cfg.split_seed)
    part = table[table["split"] == "train"]
    synthetic = (part["source"] != "original").to_numpy()
    epochs = max(round(cfg.epochs * float(1 - synthetic.mean())), 1) if cfg.same_steps else cfg.epochs
    own, some = settings(cfg, seed=seed, epochs=epochs), replace(faces, table=table)
    model, parts = study.build(own, some)
    if cfg.ramp_epochs and synthetic.any():
        parts["train"] = Ramped.of(parts["train"], synthetic, cfg.ramp_epochs)
    aim = study.objective(own, some)
    done = train.fit(model, parts["train"], parts["val"], aim, own, folder, name=cfg.checkpoint, quiet=quiet)
    study.whole(done)
    rows = some.part("golden")
    found = study.predict(done.model, parts["golden"], rows, flip=own.flip_test)
    files.write_csv(found, Path(folder) / "predictions.csv")
    return Arm(fraction, seed, int(synthetic.sum()), len(done.history), found, done, done.status)


def located(cfg):
    """The config with the combined table of notebook 02 of the same run, where none is named.

    Raises:
        InputNotFound: notebook 02 has not run, or its output is not attached.
    """
    named = cfg.combined_labels
    found = paths.find_result("02_saga_combine_labels", combine.NAME, run=paths.run_name(cfg.preset), named=named)
    return config.with_settings(cfg, combined_labels=str(found))


def checkpoint(cfg) -> Path:
    """Notebook 01's model: in `cfg.baseline_dir`, else of the same run."""
    return _of_baseline(cfg, "vit_baseline_best_model.pth")


def _of_baseline(cfg, file: str) -> Path:
    named = str(Path(cfg.baseline_dir) / file) if cfg.baseline_dir else ""
    return paths.find_result("01_baseline_training", file, run=paths.run_name(cfg.preset), named=named)


def baseline(cfg, faces: Faces) -> Arm:
    """Notebook 01's own training as the arm without edits: same golden set, same recipe, same seed, or an error.

    Raises:
        ConfigError: its golden set or a setting that decides the weights differs; each is named.
    """
    folder = _of_baseline(cfg, "metrics.json").parent
    told = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    there = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    here = settings(cfg, seed=cfg.seed, epochs=cfg.epochs).model_dump(mode="json")
    decides = {"weights", "teacher", "flip_test", "cache", "cache_views", "cache_fresh"}
    by_hash = {"golden", "golden_cap", "twin_similarity"}  # the golden set's hash tells
    skip = config.marked(config.Baseline, config.Aside) - decides | by_hash
    wrong = [
        f"{k}: {there[k]!r} there, {here[k]!r} here"
        for k in here
        if k in there and k not in skip and here[k] != there[k]
    ]
    if told["split"] != faces.golden.sha256:
        wrong.insert(0, f"golden set: {told['split'][:12]} there, {faces.golden.sha256[:12]} here")
    if told["status"] == "paused":
        wrong.append("status: its training is paused there; finish it first")
    if wrong:
        raise config.ConfigError(
            f"the baseline in {folder} is no fair opponent:\n  "
            + "\n  ".join(wrong)
            + "\nGive both notebooks the same "
            "settings, or name another run of 01 as BASELINE_DIR."
        )
    found = metrics.read_predictions(folder / "predictions.csv")
    return Arm(0.0, cfg.seed, 0, told["best_epoch"], found, None, told["status"])


def fit_all(cfg, faces: Faces, first: Arm, folder: str | Path) -> dict[Key, Arm]:
    """Every fraction with every seed, in order; `first` is 01's. The largest fraction with `cfg.seed` is the result
    of the notebook and lies in `folder` itself, the others in `folder/arms`."""
    main = (max(cfg.fractions), cfg.seed)
    done = {(0.0, cfg.seed): first}
    for key in [(fraction, seed) for seed in cfg.seeds for fraction in cfg.fractions]:
        if key not in done:
            place = Path(folder) if key == main else Path(folder) / "arms" / f"fraction_{key[0]:g}_seed_{key[1]}"
            print(f"fraction {key[0]:g}, seed {key[1]}", flush=True)
            done[key] = fit(cfg, faces, *key, place, quiet=key != main)
    return done


def over_seeds(arms: Mapping[Key, Arm], classes: Sequence[str], fraction: float, resamples: int) -> pd.DataFrame:
    """Is `fraction` of the edits better than none? Each figure's mean over the seeds, without and with.

    `low`, `high`: 95 % bootstrap interval of the mean difference over resampled groups of golden faces, all seeds on
    the same faces. `better` counts the seeds whose difference is positive; `spread` is their standard deviation.
    """
    seeds = sorted({seed for part, seed in arms if part == fraction} & {seed for part, seed in arms if part == 0})
    tables = [arms[part, seed].predictions for part in (0.0, fraction) for seed in seeds]
    true, _, _, groups = metrics.read(tables[0], classes)
    guesses = [metrics.read(compare.aligned(tables[0], table), classes)[1] for table in tables]
    rows = {str(i): metrics.one_hot(true, guess, len(classes)) for i, guess in enumerate(guesses)}
    present = np.bincount(true, minlength=len(classes)) > 0

    def figures(sums):
        every = [compare.every_figure({"confusion": counts}, classes, present) for counts in sums.values()]
        return {name: np.stack([figure[name] for figure in every]) for name in every[0]}

    lines = []
    for name, drawn in bootstrap.draws(rows, groups, figures, resamples, 0).items():
        a, b = np.split(drawn, 2)  # without and with edits: (seeds, 1 + resamples)
        difference = (b - a).mean(0)
        low, high = bootstrap.interval(difference[1:])
        own = (b - a)[:, 0]
        lines.append({"class": name[0], "figure": name[1], "without": a[:, 0].mean(), "with": b[:, 0].mean()})
        lines[-1] |= {"difference": difference[0], "low": low, "high": high, "seeds": len(seeds)}
        lines[-1]["verdict"] = bootstrap.verdict(low, high)
        lines[-1] |= {"better": int((own > 0).sum()), "spread": own.std(ddof=1) if len(seeds) > 1 else np.nan}
    return pd.DataFrame(lines)


def ablation(arms: Mapping[Key, Arm], classes: Sequence[str], resamples: int) -> pd.DataFrame:
    """One row a fraction: edits, figures as means over seeds, and the difference to none with its interval."""
    rows = []
    for fraction in sorted({part for part, _ in arms}):
        own = [arm for (part, _), arm in arms.items() if part == fraction]
        told = over_seeds(arms, classes, fraction, resamples).set_index(["class", "figure"])
        row = {"fraction": fraction, "edits": own[0].synthetic, "seeds": len(own)}
        for name in ("accuracy", "macro_f1"):
            line = told.loc["all", name]
            row |= {name: line["with"]}
            row |= {f"{name}_{key}": line[key] if fraction else 0.0 for key in ("difference", "low", "high")}
            row[f"{name}_verdict"] = line["verdict"]
        rows.append(row)
    return pd.DataFrame(rows)


def calibrated(model, faces: Faces, cfg, golden: pd.DataFrame) -> dict[str, float]:
    """Calibration error of `golden` predictions before and after the temperature of the validation part."""
    _, parts = study.build(settings(cfg, seed=cfg.seed, epochs=cfg.epochs), faces)
    val = study.predict(model, parts["val"], faces.part("val"))
    log_p = np.log(np.clip(val[metrics.columns(faces.classes)].to_numpy(), 1e-12, None))  # of float32, as ever
    temperature = calibrate.temperature(log_p, metrics.read(val, faces.classes).true)
    mended = calibrate.rescale(golden, faces.classes, temperature)
    before, after = metrics.values(golden, faces.classes), metrics.values(mended, faces.classes)
    return {
        "ECE": before["ece"],
        "NLL": before["nll"],
        "temperature": temperature,
        "ECE after": after["ece"],
        "NLL after": after["nll"],
        "floor": reliability.floor(metrics.read(mended, faces.classes).confidence),
    }


def verdict(told: pd.DataFrame, *, edits: int, demo: bool) -> str:
    """What `over_seeds` shows, as sentences that follow from its numbers.

    "Helped" and "hurt" need an interval on one side of zero, and every seed on that side.
    """
    lines, seeds = [], int(told["seeds"].iloc[0])
    for figure, name in (("macro_f1", "macro F1"), ("accuracy", "accuracy")):
        row = told[(told["class"] == "all") & (told["figure"] == figure)].iloc[0]
        up, down = row["low"] > 0 and row["better"] == seeds, row["high"] < 0 and row["better"] == 0
        word = "helped" if up else "hurt" if down else "were not shown to help"
        span = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        lines.append(f"The {edits:,} edits {word} by {name}: {span}, better with {row['better']} of {seeds} seeds.")
    rows = told[told["figure"] == "f1"]
    better, worse = (list(rows.loc[flags, "class"]) for flags in (rows["low"] > 0, rows["high"] < 0))
    lines.append(f"By F1 better: {', '.join(better) or 'no class'}; worse: {', '.join(worse) or 'no class'}.")
    if seeds < 3:
        lines.append("Fewer than three seeds: how much of it is luck of the training is hardly known.")
    if demo:
        lines.append("The faces are drawn: this says whether the machinery works, and nothing of people.")
    return "\n".join(lines)
