"""The contenders of notebook 07, all judged on the same real test songs: mean, descriptors and ridge, a small audio
spectrogram transformer from scratch, and a pretrained vision transformer with and without synthetic clips.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from pandas import DataFrame
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import Module

from emohelpers import config, models, train
from emohelpers.datasets.labels import TARGETS
from emohelpers.metrics import regression
from emohelpers.models import cache
from emohelpers.music import sound
from emohelpers.music.collection import COLUMNS, Collection
from emohelpers.music.composer import Composed
from emohelpers.music.spectra import Augmentation, Scale, Spectra
from emohelpers.report.run import Run
from emohelpers.train.objectives import Regression

PENALTIES = np.logspace(0, 5, 21)  # of ridge, chosen by leave-one-out


@dataclass(frozen=True)
class Contender:
    """One way of predicting valence and arousal, and how it did."""

    name: str
    predictions: DataFrame  # of the test songs, see `regression.predictions`
    training: train.Fit | None = None  # of a net

    @property
    def ccc(self) -> ndarray:
        """(2,) concordance of valence and arousal on the test songs."""
        true, predicted, _ = regression.read(self.predictions)
        return regression.ccc(true, predicted)

    def __str__(self) -> str:
        valence, arousal = self.ccc
        return f"{self.name}: CCC valence {valence:.2f}, arousal {arousal:.2f} on {len(self.predictions)} test songs"


def mean_predictor(songs: Collection) -> Contender:
    """The mean rating of all other songs, whatever the song."""
    mean = songs.part("train", "val")[COLUMNS].mean()
    return Contender("mean predictor", _predictions(songs, np.tile(mean, (songs.counts["test"], 1))))


def ridge(songs: Collection) -> Contender:
    """Descriptors and ridge regression, the plain way.

    It learns from training and validation songs, since it needs no validation part: its penalty is chosen by
    leave-one-out.
    """
    table = songs.table
    numbers = songs.descriptors
    test = (table["split"] == "test").to_numpy()
    predicted = []
    for target in TARGETS:
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        model.fit(numbers[~test], table.loc[~test, target])
        predicted.append(model.predict(numbers[test]))
    return Contender("descriptors + ridge", _predictions(songs, np.stack(predicted, 1)))


def audio_transformer(songs: Collection, run: Run) -> Contender:
    """The seed's rival: a small audio spectrogram transformer without pretraining, kept as ast_model.pth."""
    cfg = from_scratch(run.cfg)
    model = transformer(cfg, songs.clips(cfg.ast_shape, "train"))
    parts = batches(model, songs, cfg.ast_shape, cfg)
    return trained("audio transformer", model, parts, songs, cfg, run / "ast_model.pth")


def vision_transformer(
    songs: Collection, run: Run, *, synthetic: Composed | None = None, same_steps_as: Composed | None = None
) -> Contender:
    """The pretrained net of the config, trained on songs alone (vit_real.pth) or with clips (vit_synthetic.pth).

    Args:
        synthetic: clips to learn from as well.
        same_steps_as: clips in whose place training songs are shown again, so that both nets take as many steps.
    """
    cfg = run.cfg
    name, file = ("ViT + synthetic", "vit_synthetic.pth") if synthetic else ("ViT", "vit_real.pth")
    model = vision(cfg)
    parts = batches(model, songs, (cfg.img_size, cfg.img_size), cfg, synthetic, len(same_steps_as or ()))
    return trained(name, model, parts, songs, cfg, run / file)


def from_scratch(cfg):
    """The config of a net without pretraining: everything is trained from the first epoch, `cfg.ast_epochs` long."""
    recipe = {"epochs": cfg.ast_epochs, "lr": cfg.ast_lr, "lr_backbone": None, "trainable": "all", "unfreeze": {}}
    return config.with_settings(cfg, **recipe, cache="off", sections=1)


def transformer(cfg, pictures: ndarray) -> Module:
    """An audio spectrogram transformer from scratch, (B, 1, *cfg.ast_shape) -> (B, 2).

    After Gong et al., arXiv 2104.01778, without its pretraining; 6 layers of width 288 make about 6 million parameters.

    Args:
        pictures: the training clips, whose mean and standard deviation it is scaled by.
    """
    scale = {"mean": [pictures.mean(dtype=np.float64).item()], "std": [pictures.std(dtype=np.float64).item()]}
    options = {
        "in_chans": 1,
        "embed_dim": cfg.ast_width,
        "depth": cfg.ast_layers,
        "num_heads": cfg.ast_width // 48,
        "drop_rate": 0.1,
    }
    torch.manual_seed(cfg.seed)
    return models.rebuild(
        {
            "backbone": "vit_tiny_patch16_224",
            "img_size": list(cfg.ast_shape),
            "head": "linear",
            "head_width": 1,
            "head_dropout": 0.0,
            "classes": list(TARGETS),
            "options": options,
            "preprocess": scale,
            "task": "regression",
        }
    )


def vision(cfg) -> Module:
    """The pretrained vision transformer of the config, with two outputs in the place of classes."""
    model = models.build(cfg, TARGETS)
    models.preprocess(model, side=cfg.img_size, zoom=1.0)
    model.spec["task"] = "regression"
    return model


def batches(
    model: Module, songs: Collection, shape: tuple[int, int], cfg, synthetic: Composed | None = None, again: int = 0
) -> dict[str, Spectra]:
    """Batches of each part for a model; synthetic clips join the training part and no other.

    With `cfg.sections` a clip is so many pictures: a training pass shows one from anywhere, the others all as rows.

    Args:
        shape: of one picture.
        synthetic: clips to add, at most `cfg.synthetic_cap` of the training rows.
        again: training songs to show once more, under the same cap.
    """
    height, width = shape
    strip = height, width * cfg.sections
    look = model.spec["preprocess"]
    scale = Scale(tuple(look["mean"]), tuple(look["std"]))
    parts = {}
    # Scored parts hold every section of a song as a row; `regression.together` averages them again.
    for part in ("val", "test"):
        pictures = sound.sections(songs.clips(strip, part), cfg.sections)
        targets = np.repeat(songs.ratings(part), cfg.sections, axis=0)
        parts[part] = Spectra(pictures, targets, scale, batch_size=cfg.batch_size)

    # More training rows: synthetic clips, or the same songs again; none of them in another part.
    pictures = songs.clips(strip, "train")
    targets = songs.ratings("train")
    real = len(pictures)
    rows = np.arange(allowed(real, len(synthetic) if synthetic else again, cfg.synthetic_cap))
    if synthetic and len(rows):
        pictures = np.concatenate([pictures, sound.pictures(synthetic.take(rows), strip)])
        targets = np.concatenate([targets, synthetic.ratings[rows]])
    elif len(rows):
        rows = np.concatenate([np.arange(real), rows % real])
        pictures = pictures[rows]
        targets = targets[rows]
    learns = {"augmentation": Augmentation.of(cfg), "seed": cfg.seed, "width": width}
    return {"train": Spectra(pictures, targets, scale, batch_size=cfg.batch_size, **learns), **parts}


def allowed(real: int, synthetic: int, cap: float) -> int:
    """How many synthetic rows may join `real` ones so that they are at most the share `cap` of all."""
    # s / (real + s) <= cap, solved for s; the small number undoes rounding just below a whole one.
    return min(synthetic, int(real * cap / (1 - cap) + 1e-9))


def trained(name: str, model: Module, parts: dict[str, Spectra], songs: Collection, cfg, checkpoint: Path) -> Contender:
    """`train.fit` for valence and arousal, and its predictions of the test songs.

    Activations behind frozen layers are kept where that pays.
    """
    folder = checkpoint.with_suffix("")
    ready, plan = cache.prepare(model, parts, cfg, folder / "activations")
    print(plan)
    objective = Regression(cfg.ccc_share, cfg.sections)
    fit = train.fit(model, ready["train"], ready["val"], objective, cfg, folder, name=f"../{checkpoint.name}")
    outputs, _ = train.evaluate(fit.model, parts["test"], precision=cfg.precision)
    return Contender(name, _predictions(songs, regression.together(outputs, cfg.sections)), fit)


def _predictions(songs: Collection, predicted: ndarray) -> DataFrame:
    """The table of predictions of the test songs."""
    test = songs.part("test")
    return regression.predictions(test["song"], test[COLUMNS], predicted, group=list(test["group"]))
