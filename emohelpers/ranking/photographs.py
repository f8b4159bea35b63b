"""The photographs of a config: pairs, decoded pixels, and what the audit says of them."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers.config import files, paths
from emohelpers.datasets import pairing, pairs_audit, pixels
from emohelpers.datasets.pairs import PARTS, Pairs
from emohelpers.datasets.pixels import Pixels
from emohelpers.report import Run


@dataclass(frozen=True)
class Photographs:
    """Pairs of photographs with their pixels."""

    data: Pairs
    pixels: Pixels
    audit: DataFrame  # a row a finding; `stops` where it is a problem

    @property
    def counts(self) -> dict[str, int]:
        """Pairs of train, val and test."""
        return {part: len(self.part(part)) for part in PARTS}

    @property
    def problems(self) -> int:
        """Findings that stop a training."""
        return int(self.audit["stops"].sum())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the data: every pair by its parts, contents and opinions."""
        contents = self.contents()
        pairs = self.data.pairs
        pairs = pairs.assign(good=pairs["good"].map(contents), bad=pairs["bad"].map(contents))
        text = pairs.sort_values(["folder", "good", "bad"]).to_csv(index=False)
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def __str__(self) -> str:
        scenes = self.data.pairs["scene"].nunique()
        return f"{self.counts} pairs, {len(self.data.table)} files, {scenes} scenes below {self.data.root}"

    def part(self, name: str) -> DataFrame:
        """The pairs of train, val or test."""
        return self.data.part(name)

    def contents(self) -> dict[str, str]:
        """The hash of each file's content by its path: equal files are one picture."""
        return dict(zip(self.pixels.paths, self.pixels.sha256, strict=True))

    def squares(self, names: Any) -> ndarray:
        """(n, side, side, 3) uint8 of the named files."""
        return self.pixels.take(self.pixels.rows(names))

    def distinct(self, names: Any, most: int = 0) -> ndarray:
        """The squares of the named files, each content once; at most `most` of them, evenly spread, 0: all."""
        by_content = {self.pixels.sha256[row]: row for row in self.pixels.rows(names)}
        rows = np.array(list(by_content.values()))
        if 0 < most < len(rows):
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(int)]
        return self.pixels.take(rows)

    def sample(self, part: str, most: int = 0) -> ndarray:
        """Pictures of a part, each content once, see `distinct`."""
        table = self.data.table
        return self.distinct(table.loc[table["split"] == part, "path"], most)

    def check(self) -> None:
        """Raises PairError with every problem that the audit found."""
        pairs_audit.check(self.audit, self.data.root)


def prepare(cfg: Any) -> Photographs:
    """The photographs of a config, decoded and audited; `check` stops where there are problems.

    Raises:
        PairError: no pair at all.
    """
    data = pairing.find(cfg)
    decoded = pixels.build(data, pixels.side_for(data, cfg), paths.cache_folder() / "pixels")
    audit = pairs_audit.audit(
        data, decoded, min_side=cfg.min_side, likeness=cfg.twin_similarity, min_delta=cfg.min_delta
    )
    return Photographs(data, decoded, audit)


def pairs(run: Run) -> Photographs:
    """The photographs of a run; keeps the audit, prints it, and stops where it found problems.

    Raises:
        PairError: every problem at once, before any training.
    """
    photographs = prepare(run.cfg)
    run.data = photographs.data
    print(photographs)
    print(pairs_audit.summary(photographs.audit))
    files.write_csv(photographs.audit, run / "audit.csv")
    photographs.check()
    return photographs
