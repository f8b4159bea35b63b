"""How many of the edits a training sees, and from when on."""

import hashlib

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame

from emohelpers import config, report
from emohelpers.images.batches import Batches, Job
from emohelpers.saga.balance import odds


def subset(table: DataFrame, fraction: float, cap: float, seed: int) -> DataFrame:
    """The table with `fraction` of its edits, at most the share `cap` of a class's training pictures.

    Which ones is decided by a hash of seed and path: a smaller fraction is part of a larger one.
    """
    synthetic = table["source"] != "original"
    edits = table[synthetic]
    photographs = table[(table["split"] == "train") & ~synthetic]["label"].value_counts()
    limits = {name: int(n * min(odds(cap), 1e6)) for name, n in photographs.items()}
    order = edits["path"].map(lambda path: hashlib.sha256(f"{seed}:{path}".encode()).hexdigest())
    rank = order.groupby(edits["label"]).rank(method="first")
    offered = edits.groupby("label")["path"].transform("size")
    room = (np.minimum(edits["label"].map(limits).fillna(0), offered) * fraction).round()
    too_many = edits.index[rank > room]
    return table.drop(too_many).reset_index(drop=True)


def origins(faces) -> DataFrame:
    """Pictures by class: the training part's photographs and edits, and the other parts."""
    train = faces.part("train")
    synthetic = train["source"] != "original"
    parts = {
        "photographs": train[~synthetic],
        "edits": train[synthetic],
        "val": faces.part("val"),
        "golden": faces.part("golden"),
    }
    return report.class_table(parts, faces.classes)


def examples(faces, each: int, seed: int) -> tuple[ndarray, list[str]]:
    """Of each class `each` photographs and edits of the training part, uint8 (n, side, side, 3), and captions.

    Photographs stand in for edits that lack.
    """
    train = faces.part("train").sample(frac=1, random_state=seed)
    parts = []
    for _, rows in train.groupby("label"):
        synthetic = rows["source"] != "original"
        edits = rows[synthetic].head(each)
        parts += [rows[~synthetic].head(2 * each - len(edits)), edits]
    rows = pd.concat(parts)
    kind = rows["source"].eq("original").map({True: "\nphotograph", False: "\nedit"})
    pictures = faces.pixels.take(faces.pixels.rows(rows["path"]))
    return pictures, list(rows["label"] + kind)


class Ramped(Batches):
    """Batches in which edits come in step by step: before its turn a photograph of its class is in its place.

    An epoch keeps its length, order and class balance; the stand-in is augmented by its own random numbers.
    """

    @classmethod
    def of(cls, batches: Batches, synthetic: ndarray, epochs: float) -> "Ramped":
        """`synthetic` is a mask (n,) of the rows; after `epochs` all edits are in."""
        ramped = cls.__new__(cls)
        ramped.__dict__ |= batches.__dict__
        ramped.synthetic = np.asarray(synthetic, bool)
        ramped.epochs = epochs
        ramped.turn = np.random.default_rng([batches.seed, 77]).random(len(synthetic))
        return ramped

    def digest(self) -> str:
        return config.digest(super().digest(), self.synthetic.tolist(), self.epochs)

    def plan(self, epoch: int) -> list[Job]:
        stand_in = self.stand_in(epoch)
        return [Job(stand_in[job.positions], job.draws) for job in super().plan(epoch)]

    def stand_in(self, epoch: int) -> ndarray:
        """(n,) position -> the position that is used in this epoch."""
        rng = np.random.default_rng([self.seed, epoch, 78])
        waiting = np.flatnonzero(self.synthetic & (self.turn > (epoch + 1) / (self.epochs + 1)))
        used = np.arange(len(self.rows))
        answers = self.targets.numpy()
        for answer in np.unique(answers[waiting]):
            of_answer = waiting[answers[waiting] == answer]
            photographs = np.flatnonzero(~self.synthetic & (answers == answer))
            if len(photographs):
                used[of_answer] = rng.choice(photographs, len(of_answer))
        return used
