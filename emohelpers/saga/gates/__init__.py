"""Four gates that an edit must pass: not the same picture again, not another one; the target by two opinions; the same
person. Each scores (n, side, side, 3) uint8 faces and their edits, and says which scores are good enough.

`calibrate` sets a gate by faces of the validation part that stand for a wrong edit, so that at most the stated share of
those would pass. No edit is needed for that, and no golden face is seen. The guard asks them in the order of imports.
"""

from emohelpers.saga.gates.gate import Gate, GateError, Sample

# isort: off
from emohelpers.saga.gates.ssim import Ssim, grey, saved_again, ssim
from emohelpers.saga.gates.clip import Clip
from emohelpers.saga.gates.classifier import Classifier
from emohelpers.saga.gates.identity import Identity

__all__ = ["Classifier", "Clip", "Gate", "GateError", "Identity", "Sample", "Ssim", "grey", "saved_again", "ssim"]
