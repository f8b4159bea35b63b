"""The contenders of notebook 07, all judged on the same real test songs: mean, descriptors and ridge, a small audio
spectrogram transformer from scratch, and a pretrained vision transformer with and without synthetic clips.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from emohelpers import config, models, train
from emohelpers.datasets.labels import TARGETS
from emohelpers.metrics import regression
from emohelpers.models import cache
from emohelpers.music import sound
from emohelpers.music.gan import Composed
from emohelpers.music.spectra import Augmentation, Scale, Spectra
from emohelpers.music.spectrograms import Spectrograms
from emohelpers.train.objectives import Regression

PENALTIES = np.logspace(0, 5, 21)  # of ridge, chosen by leave-one-out


def ratings(table: pd.DataFrame, *splits: str) -> np.ndarray:
    """(n, 2) valence and arousal of one part or several, float32, in the order of the table."""
    return table.loc[table["split"].isin(splits), list(TARGETS)].to_numpy(np.float32)


def clips(spectrograms: Spectrograms, table: pd.DataFrame, shape: tuple[int, int], *splits: str) -> np.ndarray:
    """(n, *shape) float16 in 0..1 of the songs of one part or several, in the order of the table."""
    rows = spectrograms.rows(table.loc[table["split"].isin(splits), "path"])
    return sound.pictures([spectrograms.array[row] for row in rows], shape)


def mean_predictor(table: pd.DataFrame) -> np.ndarray:
    """(n, 2) for the test songs: the mean rating of all others, whatever the song."""
    known = table.loc[table["split"] != "test", list(TARGETS)].mean().to_numpy()
    return np.tile(known, (int((table["split"] == "test").sum()), 1))


def ridge(spectrograms: Spectrograms, table: pd.DataFrame) -> np.ndarray:
    """(n, 2) for the test songs: descriptors and ridge regression, the plain way.

    It learns from training and validation songs, since it needs no validation part: its penalty is chosen by
    leave-one-out.
    """
    numbers = spectrograms.descriptors.iloc[spectrograms.rows(table["path"])].to_numpy(np.float64)
    known, asked = (table["split"] != "test").to_numpy(), (table["split"] == "test").to_numpy()
    guess = []
    for name in TARGETS:
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        guess.append(model.fit(numbers[known], table.loc[known, name]).predict(numbers[asked]))
    return np.stack(guess, 1)


def from_scratch(cfg) -> Any:
    """The config of a net without pretraining: everything is trained from the first epoch, `cfg.ast_epochs` long."""
    recipe = {"epochs": cfg.ast_epochs, "lr": cfg.ast_lr, "lr_backbone": None, "trainable": "all", "unfreeze": {}}
    return config.with_settings(cfg, **recipe, cache="off", sections=1)


def transformer(cfg, pictures: np.ndarray) -> nn.Module:
    """The seed's rival: an audio spectrogram transformer from scratch, (B, 1, *cfg.ast_shape) -> (B, 2).

    After Gong et al., arXiv 2104.01778, without its pretraining; 6 layers of width 288 make about 6 million parameters.

    Args:
        pictures: the training clips, whose mean and standard deviation it is scaled by.
    """
    mean, std = (float(value) for value in (pictures.mean(dtype=np.float64), pictures.std(dtype=np.float64)))
    options = {
        "in_chans": 1, "embed_dim": cfg.ast_width, "depth": cfg.ast_layers, "num_heads": cfg.ast_width // 48,
        "drop_rate": 0.1,
    }  # fmt: skip
    spec = {
        "backbone": "vit_tiny_patch16_224", "img_size": list(cfg.ast_shape), "head": "linear", "head_width": 1,
        "head_dropout": 0.0, "classes": list(TARGETS), "options": options,
        "preprocess": {"mean": [mean], "std": [std]}, "task": "regression",
    }  # fmt: skip
    torch.manual_seed(cfg.seed)
    return models.rebuild(spec)


def vision(cfg) -> nn.Module:
    """The pretrained vision transformer of the config, with two outputs in the place of classes."""
    model = models.build(cfg, TARGETS)
    models.preprocess(model, side=cfg.img_size, zoom=1.0)
    model.spec["task"] = "regression"
    return model


def scale(model: nn.Module) -> Scale:
    """Mean and std of each channel that a model takes."""
    look = model.spec["preprocess"]
    return Scale(tuple(look["mean"]), tuple(look["std"]))


def parts(
    model: nn.Module, spectrograms: Spectrograms, table: pd.DataFrame, shape: tuple[int, int], cfg,
    synthetic: Composed | None = None, *, again: bool = False,
) -> dict[str, Spectra]:  # fmt: skip
    """Batches of each part for a model; synthetic clips join the training part and no other.

    With `cfg.sections` a clip is so many pictures: a training pass shows one from anywhere, the others all as rows.

    Args:
        shape: of one picture.
        synthetic: clips to add, at most `cfg.synthetic_cap` of the training rows.
        again: shows as many training songs once more in their place, for a comparison over equally many steps.
    """
    made, strip = {}, (shape[0], shape[1] * cfg.sections)
    for part in ("train", "val", "test"):
        pictures, wanted = clips(spectrograms, table, strip, part), ratings(table, part)
        learns: dict[str, Any] = {}
        if part == "train":
            learns = {"augmentation": Augmentation.of(cfg), "seed": cfg.seed, "width": shape[1]}
            extra = np.arange(allowed(len(pictures), len(synthetic or ()), cfg.synthetic_cap))
            if again:
                extra = extra % len(pictures)
                pictures, wanted = np.concatenate([pictures, pictures[extra]]), np.concatenate([wanted, wanted[extra]])
            elif len(extra):
                composed = sound.pictures(synthetic.take(extra), strip)
                pictures, wanted = (
                    np.concatenate([pictures, composed]),
                    np.concatenate([wanted, synthetic.ratings[extra]]),
                )
        else:
            pictures, wanted = sound.sections(pictures, cfg.sections), np.repeat(wanted, cfg.sections, axis=0)
        made[part] = Spectra(pictures, wanted, scale(model), batch_size=cfg.batch_size, **learns)
    return made


def allowed(real: int, synthetic: int, cap: float) -> int:
    """How many synthetic rows may join `real` ones so that they are at most the share `cap` of all."""
    return min(synthetic, int(real * cap / (1 - cap) + 1e-9))


def trained(model: nn.Module, parts: dict[str, Spectra], cfg, folder: str | Path, name: str) -> train.Fit:
    """`train.fit` for valence and arousal; activations behind frozen layers are kept where that pays."""
    home = Path(folder) / Path(name).stem
    ready, plan = cache.prepare(model, parts, cfg, home / "activations")
    print(plan)
    objective = Regression(cfg.ccc_share, cfg.sections)
    return train.fit(model, ready["train"], ready["val"], objective, cfg, home, name=f"../{name}")


def predictions(table: pd.DataFrame, guess: np.ndarray) -> pd.DataFrame:
    """The table of predictions of the test songs."""
    rows = table[table["split"] == "test"]
    return regression.predictions(rows["song"], rows[list(TARGETS)].to_numpy(), guess, group=list(rows["group"]))


def judged(model: nn.Module, parts: dict[str, Spectra], table: pd.DataFrame, cfg) -> pd.DataFrame:
    """Predictions of the test songs: the mean of each song's sections."""
    outputs, _ = train.evaluate(model, parts["test"])
    return predictions(table, regression.together(outputs, cfg.sections))
