"""Some of a run's edits, to be looked at."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from emohelpers import report
from emohelpers.saga.generation import Edits, square

# frames of accepted and refused edits
GREEN = "#3f8f4f"
RED = "#c4413b"


def edit_gallery(edits: Edits, faces, each: int, seed: int) -> Figure:
    """Up to `each` accepted edits (green) and `each` refused ones (red), each to the right of its face."""
    accepted = edits.pictures[edits.pictures["accepted"]]
    refused = edits.pictures.drop(accepted.index)
    samples = [rows.sample(min(each, len(rows)), random_state=seed) for rows in (accepted, refused)]
    rows = pd.concat(samples)
    side = faces.pixels.side
    photographs = np.stack([square(faces.dataset, path, side) for path in rows["parent"]])
    pairs = np.concatenate([photographs, edits.squares(rows, side)], axis=2)
    captions = [_caption(row) for row in rows.itertuples()]
    frames = [GREEN if accepted else RED for accepted in rows["accepted"]]
    return report.gallery(pairs, captions, columns=4, title="Faces and their edits", frames=frames)


def _caption(row) -> str:
    verdict = f"refused: {row.reason}" if row.reason else "accepted"
    return f"{row.original_label} to {row.label}\n{verdict}"
