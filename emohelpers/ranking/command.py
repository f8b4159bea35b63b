"""The appeal of photographs from the command line: pairs made and audited, a model trained, exported, and used."""

import argparse
import json
import sys
from typing import Any

from emohelpers import config
from emohelpers.config.ranking import Ranking
from emohelpers.ranking import headless
from emohelpers.ranking.model import read_settings


def main(arguments: list[str]) -> int:
    """`arguments` begin with "appeal"; 0: done, 1: the audit found problems, 2: cannot be done, and why."""
    options = _parser().parse_args(arguments[1:])
    try:
        return options.act(options) or 0
    except (config.ConfigError, OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m emohelpers appeal", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, act, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(act=act)
        return added

    audit = command("audit", _audit, "say everything that is wrong with a folder of pairs; exit code 1 if anything is")
    audit.add_argument("--out", default="", help="CSV of all findings")
    learn = command("train", _train, "train on pairs and evaluate on the test part")
    split = command("split", _split, "write splits.json: scenes and near-duplicates stay together")
    for added in (audit, learn, split):
        added.add_argument("--root", default="", help="folder with training_files/<folder>/{good,bad}")
        added.add_argument("--splits", default="", help="splits.json (the one beside the folders if empty)")
        added.add_argument("--preset", default="auto", choices=("auto", "demo", "full"))
        added.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a setting, e.g. epochs=3")
    learn.add_argument("--config", default="", help="train.yaml of an earlier training")
    learn.add_argument("--out", default="", help="folder for the results")
    spoil = command("spoil", _spoil, "make pairs of good photographs and what six defects make of them")
    spoil.add_argument("photographs", help="a folder")
    pair = command("pair", _pair, "make pairs of the scored pictures of each scene")
    pair.add_argument("table", help="CSV: path (beside it), scene, score")
    pair.add_argument("--min-gap", type=float, default=0.8, help="of the scores, at least (%(default)s)")
    for added in (spoil, pair):
        added.add_argument("out", help="a new folder")
    evaluate = command("evaluate", _evaluate, "pairwise accuracy, tau, accuracy by gap and latency of a checkpoint")
    evaluate.add_argument("--split", default="test", choices=("train", "val", "test"))
    export = command("export", _export, "emo_aen.onnx with a dynamic batch, compared with the model")
    quantise = command("quantise", _quantise, "emo_aen_int8.onnx, if it is not slower and keeps the order")
    for added in (evaluate, export, quantise):
        added.add_argument("checkpoint", help="best.pt of a training; results go beside it")
        added.add_argument("--root", default="", help="other pairs than those of the training")
    quantise.add_argument("--tries", type=int, default=0, help="ways of quantising (those of the training's settings)")
    score = command("score", _score, "score every picture of a folder: CSV and contact sheet")
    score.add_argument("folder")
    score.add_argument("model", help="best.pt, or an ONNX file of this suite")
    score.add_argument(
        "--out", default="", help="CSV (outputs/appeal/<folder>.csv if empty); the sheet gets its name, .png"
    )
    return parser


def _config(options: argparse.Namespace, **earlier: Any):
    inputs = {"dataset_root": options.root, "splits_json": options.splits}
    named = {name: value for name, value in inputs.items() if value}
    return config.make(Ranking, options.preset, **(earlier | named | config.assignments(options.set)))


def _audit(options: argparse.Namespace) -> int:
    return int(headless.audit(_config(options), options.out).problems > 0)


def _split(options: argparse.Namespace) -> None:
    headless.split(_config(options))


def _spoil(options: argparse.Namespace) -> None:
    print(headless.spoil(options.photographs, options.out))


def _pair(options: argparse.Namespace) -> None:
    print(headless.pair(options.table, options.out, options.min_gap))


def _train(options: argparse.Namespace) -> None:
    earlier = read_settings(options.config) if options.config else {}
    options.preset = earlier.pop("preset", options.preset)
    headless.learn(_config(options, **earlier), options.out)


def _evaluate(options: argparse.Namespace) -> None:
    headless.evaluate(options.checkpoint, options.root, options.split)


def _export(options: argparse.Namespace) -> None:
    print(headless.export(options.checkpoint, options.root))


def _quantise(options: argparse.Namespace) -> None:
    print(json.dumps(headless.quantise(options.checkpoint, options.root, options.tries), indent=1))


def _score(options: argparse.Namespace) -> None:
    _, unreadable = headless.rate(options.folder, options.model, options.out)
    for name, reason in unreadable.items():
        print(f"not read: {name}: {reason}", file=sys.stderr)
