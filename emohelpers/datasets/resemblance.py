"""Which photograph an edit clearly looks like, whatever its name and its table say."""

import numpy as np
import pandas as pd
from numpy import ndarray

from emohelpers.datasets.thumbnails import likenesses

BLOCK = 1024  # edits compared with all photographs at once
CLEAR = 0.5  # ratio of two distances from which an edit clearly resembles the nearer photograph
LEAST = 0.7  # cosine that it must have then


def resembled(edits: ndarray, photographs: ndarray, groups: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Of each edit the most alike photograph, its cosine, and whether it clearly is the one it was made from.

    Clearly: at most half as far away (1 - cosine of 16x16 thumbnails, mirrored too) as any photograph of another
    group. Of drawn edits at full intensity that finds 85 % and none wrongly; of edits of absent faces .7 % pass.

    Args:
        edits: thumbnails (m, 256); photographs: (n, 256) with their `groups` (n,).
    """
    code = pd.factorize(groups)[0]
    best = np.empty(len(edits), int)
    nearest = np.empty(len(edits), edits.dtype)  # cosines
    second = np.empty_like(nearest)  # of the most alike photograph of another group
    for start in range(0, len(edits), BLOCK):
        block = slice(start, start + BLOCK)
        cosines = likenesses(edits[block], photographs)
        best[block] = cosines.argmax(1)
        nearest[block] = cosines.max(1)
        # The best one's own group is no rival: without it the maximum is that of the next group.
        cosines[code == code[best[block]][:, None]] = -1
        second[block] = cosines.max(1)
    clear = (1 - nearest <= CLEAR * (1 - second)) & (nearest >= LEAST)
    return best, nearest, clear
