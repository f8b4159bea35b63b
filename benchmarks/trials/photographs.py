"""Notebook 08's ranking on real photographs: spoiled ones, and pairs that people rated.

python benchmarks/trials/photographs.py spoiled PHOTOS WEIGHTS [--home FOLDER] [--settings JSON]
python benchmarks/trials/photographs.py rated PAIRS WEIGHTS [--seeds 3]

`spoiled` makes pairs of a folder of photographs and of what six defects do to them, trains by the command line of the
suite on 60 % of the photographs and tests on 30 % that it has never seen; then exports and quantises.
`rated` keeps the backbone frozen (a hundred pairs are too few to move it), trains the suite's head on its features and
tests it scene by scene on all the others (leave one scene out). Beside it: a ridge regression of the opinions on the
same features, and the mean opinion of whatever made the picture, which the file names tell.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emohelpers import train
from emohelpers.config import files
from emohelpers.datasets import pairing, pairs
from emohelpers.datasets import pixels as store
from emohelpers.images.preprocess import Preprocess
from emohelpers.metrics import pairs as concordance
from emohelpers.models import heads
from emohelpers.suite import cli

RESULTS = Path(__file__).parents[1] / "results"
SHARES = {"train": 0.6, "val": 0.1, "test": 0.3}
SETTINGS = {  # what differs from the notebook's defaults: another net, smaller pictures, no turning beside tilted ones
    "backbone": "mobilenetv2_100", "img_size": 160, "epochs": 8, "warmup_epochs": 1.0, "lr": 5e-4, "rotation": 0.5,
    "min_side": 200, "patience": 0,
}  # fmt: skip
SIDE, STEPS = 256, 150  # pixels of the decoded square; optimizer steps of the head


def spoiled(args) -> None:
    home = Path(args.home or tempfile.mkdtemp())
    if not (home / "pairs").is_dir():
        made = pairing.spoiled(args.folder, home / "pictures")
        pairing.from_scores(home / "pictures", made, home / "pairs", min_gap=0.3, shares=SHARES)
    settings = SETTINGS | {"weights": args.weights} | json.loads(args.settings)
    given = list(itertools.chain(*(("--set", f"{name}={json.dumps(value)}") for name, value in settings.items())))
    out = home / "run"
    if not (out / "best.pt").is_file():
        asked = ["appeal", "train", "--root", str(home / "pairs"), "--preset", "full", "--out", str(out), *given]
        assert cli.main(asked) == 0
    assert cli.main(["appeal", "quantise", str(out / "best.pt"), "--tries", str(args.tries)]) == 0
    assert cli.main(["appeal", "evaluate", str(out / "best.pt")]) == 0  # again, with the latency of the ONNX files
    found = pd.read_csv(out / "pairs_test.csv")
    kinds = found.assign(right=concordance.right(found), kind=_kind(found, home / "pictures"))
    by_kind = kinds[kinds["good_score"] == 1].groupby("kind")["right"].agg(["mean", "size"]).round(3)
    print(by_kind)
    metrics, verdict = (
        json.loads((out / name).read_text()) for name in ("metrics_test.json", "models/int8_verdict.json")
    )
    made = {"settings": settings, "metrics": metrics, "int8": verdict, "against_the_original": by_kind.T.to_dict()}
    files.write_json(RESULTS / "photographs_spoiled.json", made)


def _kind(found: pd.DataFrame, pictures: Path) -> pd.Series:
    known = pd.read_csv(pictures / "photos.csv", dtype=str, keep_default_na=False).set_index("path")
    wrong = known["wrong"].str.split(" ").str[0]
    return found["bad"].str.rpartition("/")[2].map(wrong)


@torch.inference_mode()
def features(squares: np.ndarray, weights: str) -> np.ndarray:
    """(n, views, F) of the frozen backbone: the picture and its mirror image."""
    model = timm.create_model(f"local-dir:{weights}", pretrained=True, num_classes=0).eval()
    own = timm.data.resolve_model_data_config(model)
    prepared = Preprocess(SIDE, 224, SIDE / 224, own["mean"], own["std"], own["interpolation"])
    pixels = prepared.normalise(torch.from_numpy(prepared.evaluate(squares)))
    views = [torch.cat([model(part) for part in view.split(16)]) for view in (pixels, pixels.flip(3))]
    return torch.stack(views, 1).numpy()


def learned(x: np.ndarray, opinion: np.ndarray, couples: np.ndarray, seed: int) -> torch.nn.Module:
    """The suite's head, trained on (m, 2) couples of rows, good first, by the suite's objective."""
    torch.manual_seed(seed)
    head, objective = (
        heads.build("embedding", x.shape[2], 2, 512, 0.5),
        train.Preference(margin=0.2, opinion_weight=0.2),
    )
    mover = torch.optim.AdamW(head.parameters(), lr=3e-4, weight_decay=1e-2)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(opinion.astype(np.float32))
    flat = torch.from_numpy(couples.ravel())
    for _ in range(STEPS):
        view = torch.randint(x.shape[1], (len(couples),)).repeat_interleave(2)
        mover.zero_grad()
        objective.loss(head(inputs[flat, view]), targets[flat]).backward()
        mover.step()
    return head.eval()


def rated(args) -> None:
    data = pairs.read(args.folder)
    paths = list(data.table["path"])
    decoded = [(data.root / path).read_bytes() for path in paths]
    first = {content: i for i, content in reversed(list(enumerate(decoded)))}
    of = {path: first[content] for path, content in zip(paths, decoded, strict=True)}
    squares = np.stack([store.fit_square(store.decode(content), SIDE) for content in decoded])
    raw, opinion = features(squares, args.weights), data.table["score"].to_numpy(float)
    maker = np.array([Path(path).stem.rpartition("_")[0] for path in paths])
    scenes, couples = data.pairs["scene"].to_numpy(), data.pairs[["good", "bad"]].map(of.get).to_numpy()
    said = {name: np.full((len(couples), 2), np.nan) for name in ("head", "ridge", "maker")}
    for scene in np.unique(scenes):
        held, rest = scenes == scene, np.unique(couples[scenes != scene])
        x = (raw - raw[rest].mean((0, 1))) / (raw[rest].std((0, 1)) + 1e-6)  # of the other scenes alone
        scale = (opinion - opinion[rest].mean()) / opinion[rest].std()
        for name, score in {
            "head": _head(x, scale, couples[~held], args.seeds),
            "ridge": make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 5, 9)))
            .fit(x[rest].mean(1), opinion[rest]).predict(x.mean(1)),
            "maker": pd.Series(maker).map(pd.Series(opinion[rest]).groupby(maker[rest]).mean()).fillna(0).to_numpy(),
        }.items():  # fmt: skip
            said[name][held] = score[couples[held]]
        print(scene, held.sum(), flush=True)
    made = {"pairs": len(couples), "scenes": len(np.unique(scenes)), "pictures": len(set(of.values()))}
    for name, score in said.items():
        table = data.pairs.assign(score_good=score[:, 0], score_bad=score[:, 1])
        pictures = concordance.pictures(table, {path: str(i) for path, i in of.items()})
        made[name] = {"accuracy": concordance.accuracy(table), **concordance.correlations(pictures)[0]}
        print(name, json.dumps(made[name]["accuracy"]), "tau", round(made[name]["tau"]["value"], 3))
    files.write_json(RESULTS / "photographs_rated.json", made)


def _head(x: np.ndarray, scale: np.ndarray, couples: np.ndarray, seeds: int) -> np.ndarray:
    with torch.inference_mode(False):
        nets = [learned(x, scale, couples, seed) for seed in range(seeds)]
    with torch.inference_mode():
        every = torch.from_numpy(x)
        return torch.stack([net(every.flatten(0, 1))[:, 0].view(len(x), -1).mean(1) for net in nets]).mean(0).numpy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("spoiled", "rated"))
    parser.add_argument("folder")
    parser.add_argument("weights")
    parser.add_argument("--home", default="", help="a folder for pairs and results; a temporary one if none is named")
    parser.add_argument("--seeds", type=int, default=3, help="heads that are averaged")
    parser.add_argument("--tries", type=int, default=5, help="ways of quantising")
    parser.add_argument("--settings", default="{}", help="JSON that replaces some of SETTINGS")
    options = parser.parse_args()
    {"spoiled": spoiled, "rated": rated}[options.what](options)
