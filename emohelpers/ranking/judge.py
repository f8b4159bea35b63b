"""The appeal of photographs from the command line: pairs made and audited, a model trained, exported, and used."""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from emohelpers import config, models, train
from emohelpers.config import files, paths
from emohelpers.datasets import pairing, pairs_audit
from emohelpers.datasets import pixels as store
from emohelpers.datasets.locate import pictures
from emohelpers.datasets.pairs import Pairs
from emohelpers.datasets.pixels import Pixels
from emohelpers.export.runner import Runner
from emohelpers.metrics import pairs as concordance
from emohelpers.ranking import figures as albums
from emohelpers.ranking import model as ranking
from emohelpers.ranking import release
from emohelpers.report import facts

STEM = "08_emo_aen_ranking"


def main(arguments: list[str]) -> int:
    """`arguments` begin with "appeal"; 0: done, 1: the audit found problems, 2: cannot be done, and why."""
    options = _parser().parse_args(arguments[1:])
    try:
        return options.act(options)
    except (config.ConfigError, OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m emohelpers appeal", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, act, told: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told, description=told)
        made.set_defaults(act=act)
        return made

    look = command("audit", _audit, "say everything that is wrong with a folder of pairs; exit code 1 if anything is")
    look.add_argument("--out", default="", help="CSV of all findings")
    learn = command("train", _train, "train on pairs and evaluate on the test part")
    draw = command("split", _split, "write splits.json: scenes and near-duplicates stay together")
    for made in (look, learn, draw):
        made.add_argument("--root", default="", help="folder with training_files/<folder>/{good,bad}")
        made.add_argument("--splits", default="", help="splits.json (the one beside the folders if empty)")
        made.add_argument("--preset", default="auto", choices=("auto", "demo", "full"))
        made.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a setting, e.g. epochs=3")
    learn.add_argument("--config", default="", help="train.yaml of an earlier training")
    learn.add_argument("--out", default="", help="folder for the results")
    spoil = command("spoil", _spoil, "make pairs of good photographs and what six defects make of them")
    spoil.add_argument("photographs", help="a folder")
    pair = command("pair", _pair, "make pairs of the scored pictures of each scene")
    pair.add_argument("table", help="CSV: path (beside it), scene, score")
    pair.add_argument("--min-gap", type=float, default=0.8, help="of the scores, at least (%(default)s)")
    for made in (spoil, pair):
        made.add_argument("out", help="a new folder")
    test = command("evaluate", _evaluate, "pairwise accuracy, tau, accuracy by gap and latency of a checkpoint")
    test.add_argument("--split", default="test", choices=("train", "val", "test"))
    ship = command("export", _export, "emo_aen.onnx with a dynamic batch, compared with the model")
    small = command("quantise", _quantise, "emo_aen_int8.onnx, if it is not slower and keeps the order")
    for made in (test, ship, small):
        made.add_argument("checkpoint", help="best.pt of a training; results go beside it")
        made.add_argument("--root", default="", help="other pairs than those of the training")
    small.add_argument("--tries", type=int, default=0, help="ways of quantising (those of the training's settings)")
    rate = command("score", _score, "score every picture of a folder: CSV and contact sheet")
    rate.add_argument("folder")
    rate.add_argument("model", help="best.pt, or an ONNX file of this suite")
    rate.add_argument(
        "--out", default="", help="CSV (outputs/appeal/<folder>.csv if empty); the sheet gets its name, .png"
    )
    return parser


def prepare(cfg) -> tuple[Pairs, Pixels, pd.DataFrame]:
    """The pairs of a config, decoded, and what the audit found."""
    data = pairing.find(cfg)
    pixels = store.build(data, store.side_for(data, cfg), paths.cache_folder() / "pixels")
    look = {"min_side": cfg.min_side, "likeness": cfg.twin_similarity, "min_delta": cfg.min_delta}
    return data, pixels, pairs_audit.audit(data, pixels, **look)


def _config(options: argparse.Namespace, **more: Any):
    named = {name: value for name, value in (("dataset_root", options.root), ("splits_json", options.splits)) if value}
    return config.make(config.Ranking, options.preset, **(more | named | config.assignments(options.set)))


def _audit(options: argparse.Namespace) -> int:
    data, _, found = prepare(_config(options))
    if options.out:
        files.write_csv(found, options.out)
    print(f"{len(data.pairs)} pairs, {len(data.table)} files, {data.pairs['scene'].nunique()} scenes below {data.root}")
    print(pairs_audit.summary(found))
    return int(found["stops"].any())


def _split(options: argparse.Namespace) -> int:
    cfg = _config(options)
    data, pixels, _ = prepare(cfg)
    target = Path(options.splits or data.root / "splits.json")
    if target.is_file():
        raise config.ConfigError(f"{target} exists; a split is never drawn twice. Remove it first if it must go.")
    made = pairing.draw_splits(data, pixels, cfg.twin_similarity, seed=cfg.seed)
    print(files.write_json(target, made), {part: len(folders) for part, folders in made.items()})
    return 0


def _spoil(options: argparse.Namespace) -> int:
    out = Path(options.out)
    scored = pairing.spoiled(options.photographs, out.with_name(out.name + "_pictures"))
    print(pairing.from_scores(out.with_name(out.name + "_pictures"), scored, out, min_gap=0.3))
    return 0


def _pair(options: argparse.Namespace) -> int:
    table = Path(options.table)
    print(pairing.from_scores(table.parent, pd.read_csv(table), options.out, min_gap=options.min_gap))
    return 0


def _train(options: argparse.Namespace) -> int:
    known: dict[str, Any] = {}
    if options.config:
        known = ranking.read_settings(options.config)
        options.preset = known.pop("preset")
    cfg = _config(options, **known)
    run = paths.run_folder(STEM, run="headless", output_dir=options.out or cfg.output_dir)
    data, pixels, found = prepare(cfg)
    print(pairs_audit.summary(found))
    pairs_audit.check(found, data.root)
    cfg, told = ranking.stopping(cfg, len(data.part("val")))
    print(told)
    model = ranking.build(cfg, data)
    prepared = models.preprocess(model, side=pixels.side, zoom=cfg.eval_zoom)
    ranking.write_settings(run, cfg, prepared)
    parts = ranking.batches(data, pixels, prepared, cfg)
    done = train.fit(model, parts["train"], parts["val"], train.Preference.of(cfg), cfg, run, name="best.pt")
    _report(done.model, run, data, pixels, cfg, "test", done.seconds)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    model, cfg, run, data, pixels = _opened(options)
    _report(model, run, data, pixels, cfg, options.split, 0.0)
    return 0


def _export(options: argparse.Namespace) -> int:
    model, cfg, run, data, pixels = _opened(options)
    print(release.onnx(model, run, data, pixels, cfg, trained=_date(options.checkpoint)))
    return 0


def _quantise(options: argparse.Namespace) -> int:
    model, cfg, run, data, pixels = _opened(options)
    print(
        release.onnx(model, run, data, pixels, cfg, trained=_date(options.checkpoint))
    )  # a file that lies there may be older
    cfg = config.with_settings(cfg, int8_tries=options.tries or cfg.int8_tries)
    print(json.dumps(release.int8(run, data, pixels, cfg), indent=1))
    return 0


def _opened(options: argparse.Namespace) -> tuple[nn.Module, Any, Path, Pairs, Pixels]:
    """A checkpoint, the config of its training, its folder, and its pairs (or those of --root), decoded alike."""
    model = models.load(options.checkpoint)
    cfg = config.restored(config.Ranking, model.facts["config"])
    if options.root:
        cfg = config.with_settings(cfg, dataset_root=options.root, splits_json="")
    data, pixels, found = prepare(cfg)
    pairs_audit.check(found, data.root)
    return model, cfg, Path(options.checkpoint).resolve().parent, data, pixels


def _date(path: str) -> str:
    """Day of the training: the checkpoint was written at its end."""
    return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC).date().isoformat()


def judge(model: nn.Module, data: Pairs, pixels: Pixels, cfg, part: str = "test") -> dict[str, Any]:
    """Everything that is measured of a part: the pairs with scores, pictures, figures, scenes and gaps."""
    prepared = models.prepared(model, pixels.side)
    pairs = ranking.scored(model, data, part, pixels, prepared)
    pictures = concordance.pictures(pairs, dict(zip(pixels.paths, pixels.sha256, strict=True)))
    correlations, scenes = concordance.correlations(pictures, resamples=cfg.bootstrap)
    figures = {"pairwise_accuracy": concordance.accuracy(pairs, resamples=cfg.bootstrap), **correlations}
    gaps = concordance.by_gap(pairs)
    return {"pairs": pairs, "pictures": pictures, "figures": figures, "scenes": scenes, "gaps": gaps}


def _report(model: nn.Module, run: Path, data: Pairs, pixels: Pixels, cfg, part: str, seconds: float) -> None:
    found = judge(model, data, pixels, cfg, part)
    latency = release.latency(model, run, rounds=cfg.timing_rounds)
    files.write_csv(found["pairs"], run / f"pairs_{part}.csv")
    facts.save_metrics(
        run, found["figures"], name=f"metrics_{part}.json", data=data.name, demo=bool(data.demo), seconds=seconds,
        split=release.fingerprint(data, pixels), latency_ms=latency, by_gap=found["gaps"].to_dict("records"),
    )  # fmt: skip
    print(facts.figures_table(found["figures"]).to_string())
    print(found["gaps"].round(3).to_string(index=False))
    print("milliseconds a picture, one thread:", {name: round(value, 2) for name, value in latency.items()})


def score(folder: str | Path, model: str | Path) -> tuple[pd.DataFrame, np.ndarray, dict[str, str]]:
    """Scores of every picture of a folder, subfolders too: path and score, their squares, and what could not be read.

    `model` is a checkpoint or an ONNX file; pictures are decoded and cut as in training.
    """
    root = paths.find_input(str(folder), remedy="give a folder with pictures.")
    found = pictures(root)
    net: Any = Runner(model) if Path(model).suffix == ".onnx" else models.load(model)
    side = net.preprocess.side if isinstance(net, Runner) else net.spec["preprocess"]["side"]

    def square(path: Path) -> np.ndarray | str:
        try:
            return store.fit_square(store.decode(path.read_bytes()), side)
        except (OSError, store.UnreadableImage) as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        made = list(pool.map(square, found))
    names = [path.relative_to(root).as_posix() for path in found]
    bad = {name: one for name, one in zip(names, made, strict=True) if isinstance(one, str)}
    if len(bad) == len(names):
        raise ValueError(f"none of the {len(names)} pictures in {root} can be read, first {names[0]}: {bad[names[0]]}")
    squares = np.stack([one for one in made if not isinstance(one, str)])
    scores = net.logits(squares) if isinstance(net, Runner) else ranking.scores(net, squares)
    kept = [name for name in names if name not in bad]
    return pd.DataFrame({"path": kept, "score": scores.astype(float)}), squares, bad


def _score(options: argparse.Namespace) -> int:
    name = Path(options.folder).resolve().name
    target = Path(options.out or paths.outputs_root() / "appeal" / f"{name}.csv")
    files.write_text(
        target.with_suffix(".txt"), f"photographs of {options.folder} by {options.model}\n"
    )  # or fails now
    table, squares, bad = score(options.folder, options.model)
    files.write_csv(table.sort_values("score", ascending=False), target)
    albums.contact_sheet(squares, table, target.with_suffix(".png"))
    print(f"{len(table)} pictures scored: {target} and {target.with_suffix('.png')}")
    for name, reason in bad.items():
        print(f"not read: {name}: {reason}", file=sys.stderr)
    return 0
