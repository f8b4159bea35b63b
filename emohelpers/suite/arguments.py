"""What can be typed after `python -m emohelpers`: one parser, and for each command the function that does it."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

RECIPES = ("baseline", "transfer", "enhanced")
PRESETS = ("auto", "demo", "full")
REPEATED: dict[str, Any] = {"action": "append", "default": []}
SETTING: dict[str, Any] = {**REPEATED, "dest": "settings", "metavar": "NAME=JSON", "help": "e.g. epochs=3"}


class Commands:
    """The commands of a parser, whose functions are in one module; it is imported only when a command runs."""

    def __init__(self, parser: ArgumentParser, module: str) -> None:
        self.parsers = parser.add_subparsers(dest="command", required=True)
        self.module = module

    def add(self, name: str, text: str, function: str = "") -> ArgumentParser:
        """A command that calls the module's function of its name, or another, with all its arguments by name."""
        parser = self.parsers.add_parser(name, help=text, description=text)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        parser.set_defaults(function=f"emohelpers.{function or f'{self.module}.{name}'}")
        return parser


def parser() -> ArgumentParser:
    """The parser of all commands; what it parses has `function`, the dotted name of what is to be called."""
    parser = ArgumentParser("python -m emohelpers", description="The notebooks, and their work without notebooks.")
    commands = Commands(parser, "suite.commands")
    _notebooks(commands)
    _training(commands)
    _models(commands)
    appeal = commands.add("appeal", "rank photographs: audit, train, evaluate, export, quantise, score")
    _appeal(Commands(appeal, "ranking.headless"))
    return parser


def _notebooks(commands: Commands) -> None:
    run = commands.add("run", "execute notebooks and what they need into outputs/<run>/<stem>/")
    receipts = commands.add("receipts", "execute notebooks and keep the outputs of their receipt cells")
    bundle = commands.add("bundle", "write notebooks that carry the package, ready for Kaggle and Colab")
    for command in (run, receipts, bundle):
        command.add_argument(
            "names", nargs="*", metavar="notebook", help="number or stem, such as 03; all if not named"
        )
        command.add_argument("--notebooks", type=Path, default=Path("notebooks"), help="their folder (%(default)s)")
    for command in (run, receipts):
        command.add_argument("--timeout", type=float, default=12 * 3600, help="seconds for one notebook (%(default)s)")
    run.add_argument("--run", default="", help="name of this pass of the suite (demo, or full with data of your own)")
    run.add_argument("--param", **REPEATED, metavar="NAME=JSON", help="e.g. SEED=1; can be repeated")
    run.add_argument("--grid", **REPEATED, metavar="NAME=A,B", help="e.g. SEED=1,2,3; one run a point")
    run.add_argument("--force", action="store_true", help="run what was asked for even if nothing changed")
    run.add_argument("--only-failed", action="store_true", help="of the plan only what began and did not end well")
    run.add_argument("--dry-run", action="store_true", help="say what would run, why, and about how long it takes")
    run.add_argument("--index", type=int, help="only this point of the grid, from 0: for SLURM arrays")
    run.add_argument("--workers", type=int, default=0, help="runs side by side (one a graphics card, else one)")
    run.add_argument("--threads", type=int, default=0, help="processor threads a run (the cores, shared by --workers)")
    run.add_argument("--engine", choices=("local", "ray"), default="local", help="where runs are done (%(default)s)")
    run.add_argument("--address", default="", help="of a Ray cluster that is up; a new local one if empty")
    receipts.add_argument("--check", action="store_true", help="only say whether all is stripped but the receipts")
    bundle.add_argument("--out", type=Path, default=Path("dist/kaggle"), help="where they go (%(default)s)")
    bundle.add_argument("--user", default="", help="your name on Kaggle, for kernel-metadata.json")
    bundle.add_argument("--param", **REPEATED, metavar="NAME=JSON", help="e.g. EPOCHS=3; can be repeated")
    bundle.add_argument("--offline", "--wheels", action="store_true", help="without internet: also wheels and weights")
    commands.add("page", "write outputs/index.html again")


def _training(commands: Commands) -> None:
    module = "suite.headless"
    train = commands.add("train", "train a recipe and evaluate it on its golden set", f"{module}.train")
    ablation = commands.add(
        "ablation", "train a recipe and its variants; a table of paired differences", f"{module}.ablate"
    )
    across = commands.add("across", "train here, test there: every data set against every other", f"{module}.across")
    folds = commands.add(
        "folds", "k trainings, each tested on what it has not seen; then all as one model", f"{module}.cross_validate"
    )
    evaluate = commands.add("evaluate", "evaluate a checkpoint, the newest if none is named", f"{module}.evaluate")
    for command in (train, ablation, across, folds, evaluate):
        command.add_argument("--out", default="", help="folder for the results (outputs/headless/<recipe> if empty)")
    for command in (train, ablation, across, folds):
        command.add_argument("recipe", choices=RECIPES)
        command.add_argument("--preset", default="auto", choices=PRESETS)
        command.add_argument("--set", **SETTING)
    ablation.add_argument("--variant", **REPEATED, dest="variants", help="only this one; can be repeated")
    ablation.add_argument("--teacher", default="", help="checkpoint that the small student imitates")
    across.add_argument(
        "--on", **REPEATED, dest="data_sets", metavar="MANIFEST[:ROOT]", help="a data set; give two or more"
    )
    folds.add_argument(
        "--k", type=int, default=5, choices=range(3, 21), metavar="K", help="folds, 3 to 20 (%(default)s)"
    )
    evaluate.add_argument("checkpoint", nargs="?", default="", help="a .pth file that this suite wrote")
    evaluate.add_argument("--data", default="", help="external hold-out folder or Kaggle handle; empty: its golden set")
    evaluate.add_argument("--manifest", default="", help="how that folder is laid out (the checkpoint's own if empty)")
    evaluate.add_argument("--labels", default="", help="its table of labels")


def _models(commands: Commands) -> None:
    explain = commands.add(
        "explain", "panels of maps for a folder of pictures, by a checkpoint", "explain.folder.command"
    )
    explain.add_argument("checkpoint", help="a .pth of notebooks 01, 03, 04 or 05")
    explain.add_argument("folder", help="pictures, at any depth; a folder named after an emotion is their label")
    explain.add_argument("--out", default="", help="folder, or the CSV in it (outputs/explain/<checkpoint>)")
    explain.add_argument("--methods", default="", help="such as grad_cam,shap; all that the model allows if not named")
    explain.add_argument("--layer", default="", help="target layer of the CAMs; chosen by evidence if not named")
    explain.add_argument("--background", default="", help="training faces for SHAP; the pictures if not named")
    explain.add_argument("--count", type=int, default=50, help="figures at most (%(default)s)")
    predict = commands.add("predict", "name the emotion of faces: a picture, a folder", "export.predict.command")
    predict.add_argument("model", help="a .pth, an .onnx, a published folder, or a repository owner/name")
    predict.add_argument("sources", nargs="+", metavar="pictures", help="picture files and folders")
    predict.add_argument("--out", default="", help="folder for predictions.csv and contact_sheet.png, or the CSV in it")
    predict.add_argument("--whole", action="store_true", help="do not look for the face")
    predict.add_argument("--every", action="store_true", help="every face, not the largest alone")


def _appeal(commands: Commands) -> None:
    audit = commands.add("audit", "say everything that is wrong with a folder of pairs; exit code 1 if anything is")
    train = commands.add("train", "train on pairs and evaluate on the test part", "ranking.headless.learn")
    split = commands.add("split", "write splits.json: scenes and near-duplicates stay together")
    for command in (audit, train, split):
        command.add_argument("--root", default="", help="folder with training_files/<folder>/{good,bad}")
        command.add_argument("--splits", default="", help="splits.json (the one beside the folders if empty)")
        command.add_argument("--preset", default="auto", choices=PRESETS)
        command.add_argument("--set", **SETTING)
    audit.add_argument("--out", default="", help="folder for audit.csv, or the CSV in it")
    train.add_argument("--config", default="", dest="earlier", help="train.yaml of an earlier training")
    train.add_argument("--out", default="", help="folder for the results")
    spoil = commands.add("spoil", "make pairs of good photographs and what six defects make of them")
    spoil.add_argument("photographs", help="a folder")
    pair = commands.add("pair", "make pairs of the scored pictures of each scene")
    pair.add_argument("table", help="CSV: path (beside it), scene, score")
    pair.add_argument("--min-gap", type=float, default=0.8, help="of the scores, at least (%(default)s)")
    for command in (spoil, pair):
        command.add_argument("out", help="a new folder")
    evaluate = commands.add("evaluate", "pairwise accuracy, tau, accuracy by gap and latency of a checkpoint")
    export = commands.add("export", "emo_aen.onnx with a dynamic batch, compared with the model")
    quantise = commands.add("quantise", "emo_aen_int8.onnx, if it is not slower and keeps the order")
    for command in (evaluate, export, quantise):
        command.add_argument("checkpoint", help="best.pt of a training; results go beside it")
        command.add_argument("--root", default="", help="other pairs than those of the training")
    evaluate.add_argument("--split", default="test", choices=("train", "val", "test"), dest="part")
    quantise.add_argument("--tries", type=int, default=0, help="ways of quantising (those of the training's settings)")
    score = commands.add("score", "score every picture of a folder: CSV and contact sheet", "ranking.headless.rate")
    score.add_argument("folder")
    score.add_argument("model", help="best.pt, or an ONNX file of this suite")
    score.add_argument("--out", default="", help="folder, or the CSV in it (outputs/appeal/<folder>.csv if empty)")
