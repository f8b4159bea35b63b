"""SAGA, Semantic Active Generative Augmentation: rare classes are filled with edits of real faces that pass a guard.

`balance` says how many edits of which faces, `editors` make them, `gates` and `guard` judge them, `generation` runs
all that and can be killed, `fractions` trains with more and less of them and `seeds` says whether it helped.
"""

from emohelpers.saga.album import edit_gallery
from emohelpers.saga.balance import plan
from emohelpers.saga.fractions import calibration, gain_figure, train_fractions, with_combined_labels, with_edits
from emohelpers.saga.generation import make_edits
from emohelpers.saga.guard import acceptance, build_guard, facts, learned
from emohelpers.saga.planting import plant
from emohelpers.saga.publishing import combine
from emohelpers.saga.ramp import examples, origins
from emohelpers.saga.seeds import verdict

__all__ = [
    "acceptance",
    "build_guard",
    "calibration",
    "combine",
    "edit_gallery",
    "examples",
    "facts",
    "gain_figure",
    "learned",
    "make_edits",
    "origins",
    "plan",
    "plant",
    "train_fractions",
    "verdict",
    "with_combined_labels",
    "with_edits",
]
