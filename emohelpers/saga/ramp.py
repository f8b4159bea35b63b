"""How many of the edits a training sees, and from when on."""

import hashlib

import numpy as np
import pandas as pd

from emohelpers import config
from emohelpers.images.batches import Batches, Job
from emohelpers.saga.balance import odds


def subset(table: pd.DataFrame, fraction: float, cap: float, seed: int) -> pd.DataFrame:
    """The table with `fraction` of its edits, at most the share `cap` of a class's training pictures.

    Which ones is decided by a hash of seed and path: a smaller fraction is part of a larger one.
    """
    made = table["source"] != "original"
    real = table[(table["split"] == "train") & ~made]["label"].value_counts()
    order = table["path"].map(lambda path: hashlib.sha256(f"{seed}:{path}".encode()).hexdigest())
    rank = order[made].groupby(table["label"]).rank(method="first")
    allowed = table.loc[made, "label"].map(lambda name: int(real.get(name, 0) * min(odds(cap), 1e6)))
    count = table[made].groupby("label")["path"].transform("size")
    room = (np.minimum(allowed, count) * fraction).round()
    return table[~made | (rank <= room).reindex(table.index, fill_value=False)].reset_index(drop=True)


def by_origin(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The training part's photographs and edits, and the other parts."""
    made, train = table["source"] != "original", table["split"] == "train"
    parts = {"photographs": table[train & ~made], "edits": table[train & made]}
    return parts | {part: table[table["split"] == part] for part in ("val", "golden")}


def examples(table: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Of each class `n` photographs and `n` edits of the training part; photographs stand in for edits that lack."""
    train = (
        table[table["split"] == "train"].assign(made=table["source"] != "original").sample(frac=1, random_state=seed)
    )
    parts = []
    for _, rows in train.groupby("label"):
        edits = rows[rows["made"]].head(n)
        parts += [rows[~rows["made"]].head(2 * n - len(edits)), edits]
    return pd.concat(parts)


class Ramped(Batches):
    """Batches in which edits come in step by step: before its turn a photograph of its class is in its place.

    An epoch keeps its length, order and class balance; the stand-in is augmented by its own random numbers.
    """

    @classmethod
    def of(cls, batches: Batches, synthetic: np.ndarray, epochs: float) -> "Ramped":
        """`synthetic` is a mask (n,) of the rows; after `epochs` all edits are in."""
        made = cls.__new__(cls)
        made.__dict__ |= batches.__dict__
        made.synthetic, made.epochs = np.asarray(synthetic, bool), epochs
        made.turn = np.random.default_rng([batches.seed, 77]).random(len(synthetic))
        return made

    def digest(self) -> str:
        return config.digest(super().digest(), self.synthetic.tolist(), self.epochs)

    def plan(self, epoch: int) -> list[Job]:
        stand_in = self.stand_in(epoch)
        return [Job(stand_in[at], draws) for at, draws in super().plan(epoch)]

    def stand_in(self, epoch: int) -> np.ndarray:
        """(n,) position -> the position that is used in this epoch."""
        waiting = np.flatnonzero(self.synthetic & (self.turn > (epoch + 1) / (self.epochs + 1)))
        rng, used = np.random.default_rng([self.seed, epoch, 78]), np.arange(len(self.rows))
        answers = self.targets.numpy()
        for answer in np.unique(answers[waiting]):
            here = waiting[answers[waiting] == answer]
            real = np.flatnonzero(~self.synthetic & (answers == answer))
            if len(real):
                used[here] = rng.choice(real, len(here))
        return used
