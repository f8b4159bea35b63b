"""Some of a run's edits, to be looked at."""

import numpy as np
import pandas as pd

from emohelpers.saga.generation import Made, square


def sample(table: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Up to `n` accepted and `n` refused rows that are pictures with a face, accepted first."""
    seen = table[(table["path"] != "") & (table["parent"] != "")]
    parts = [seen[seen["accepted"].astype(bool) == wanted] for wanted in (True, False)]
    return pd.concat([part.sample(min(n, len(part)), random_state=seed) for part in parts]).reset_index(drop=True)


def tried(table: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Up to `n` rows that are pictures with a face, accepted or not, as they come."""
    seen = table[(table["path"] != "") & (table["parent"] != "")]
    return seen.sample(min(n, len(seen)), random_state=seed).reset_index(drop=True)


def pairs(made: Made, rows: pd.DataFrame, dataset, side: int) -> np.ndarray:
    """(n, side, 2 side, 3) uint8: each face with its edit to the right."""
    faces = np.stack([square(dataset, path, side) for path in rows["parent"]])
    return np.concatenate([faces, made.squares(rows, side)], axis=2)


def captions(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """A caption and the colour of a frame for each row: green accepted, red refused."""
    said = [f"refused: {reason}" if reason else "accepted" for reason in rows["reason"]]
    told = [f"{a} to {b}\n{end}" for a, b, end in zip(rows["original_label"], rows["label"], said, strict=True)]
    return told, ["#3f8f4f" if ok else "#c4413b" for ok in rows["accepted"]]
