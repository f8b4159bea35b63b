"""Maps of a batch by `explain` against each library called as its documentation shows, one picture at a time.

The same nets, layers, pictures, classes and sample counts, and maps of the same size. What is asked of every method is
what the panel shows: one map a face, of one class. Cost is CPU time; on a card, wall time, since there the CPU waits.
"""

import sys
import time

import numpy as np
import rounds
import shap
import torch
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from emohelpers import config, models
from emohelpers.config.explain import Explain
from emohelpers.config.faces import Baseline
from emohelpers.config.registry import METHODS
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.explain import Explainer
from emohelpers.models import devices

LIBRARY = {"grad_cam": GradCAM, "grad_cam_pp": GradCAMPlusPlus, "layer_cam": LayerCAM}
NETS = {"test_resnet": (96, "layer3"), "test_vit": (96, "blocks.5.norm1"), "mobilenetv2_100": (96, "blocks.4")}


def tokens(model):
    """Documented for transformers: drop the class token, lay the patches out."""
    if not hasattr(model, "patch_embed"):
        return None
    height, width = model.patch_embed.grid_size
    return lambda t: t[:, 1:].transpose(1, 2).reshape(len(t), -1, height, width)


def contenders(backbone: str, faces: int, samples: int) -> dict:
    """Pairs of callables a method: ours on the batch, the library's picture by picture."""
    size, layer = NETS.get(backbone, (224, ""))
    cfg = config.make(
        Baseline, "demo", backbone=backbone, weights="random", trainable="all", head="linear", img_size=size
    )
    model = models.build(cfg, EMOTIONS).eval()
    prepared = models.preprocess(model, side=size, zoom=1.0)
    rng = np.random.default_rng(0)
    squares, base = (rng.integers(0, 255, (n, size, size, 3), np.uint8) for n in (faces, 16))
    chosen = config.make(Explain, "demo", shap_samples=samples, lime_samples=samples, batch_size=32)
    one, targets = Explainer(model, base, chosen, layer=layer), rng.integers(0, 8, faces)
    device = one.classifier.device
    model, reshape = model.to(device), tokens(model)
    normal = prepared.normalise(torch.from_numpy(squares)).to(device)
    background = prepared.normalise(torch.from_numpy(base)).to(device)
    cut = SegmentationAlgorithm("slic", n_segments=chosen.lime_segments, compactness=10, sigma=1, start_label=0)

    def cam(kind):
        def run() -> int:
            with kind(model, [model.get_submodule(one.classifier.layer)], reshape_transform=reshape) as made:
                for i in range(faces):
                    made(normal[i : i + 1], [ClassifierOutputTarget(int(targets[i]))])
            return faces

        return run

    class Of(torch.nn.Module):
        """One logit of the model, so that SHAP computes no other."""

        def __init__(self, target: int):
            super().__init__()
            self.model, self.target = model, target

        def forward(self, x):
            return self.model(x)[:, self.target : self.target + 1]

    def by_shap() -> int:
        for i in range(faces):
            explainer = shap.GradientExplainer(Of(int(targets[i])), background)
            explainer.shap_values(normal[i : i + 1], nsamples=samples, rseed=0)
        return faces

    def predict(pictures: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(prepared.normalise(torch.from_numpy(pictures)).to(device)).softmax(1).cpu().numpy()

    def by_lime() -> int:
        for i in range(faces):
            LimeImageExplainer(random_state=0).explain_instance(
                squares[i], predict, labels=(int(targets[i]),), top_labels=None, num_samples=samples,
                segmentation_fn=cut, random_seed=0,
            )  # fmt: skip
        return faces

    def ours(method):
        def run() -> int:
            one.maps(method, squares, targets, check=False)
            return faces

        return run

    theirs = {method: cam(kind) for method, kind in LIBRARY.items()} | {"shap": by_shap, "lime": by_lime}
    assert {name for name, method in METHODS.items() if method.kind == "CAM"} <= set(theirs)
    return {method: (ours(method), run) for method, run in theirs.items()}


def wall() -> float:
    """Seconds, when the card has done what it was told."""
    torch.cuda.synchronize()
    return time.perf_counter()


def main(backbone: str, faces: int = 12, samples: int = 32, repeats: int = 7) -> None:
    clock = time.process_time
    if torch.cuda.is_available():
        clock = wall
    else:
        torch.set_num_threads(1)
        devices.keep_memory()
    pairs = contenders(backbone, faces, samples)
    taken, ratios = {}, {}
    for method, (ours, library) in pairs.items():
        names = f"{method}: ours", f"{method}: library"
        taken |= rounds.race(dict(zip(names, (ours, library), strict=True)), repeats, clock=clock)
        ratios[method] = rounds.ratio(taken, *names)
    panel = {
        f"panel: {who}": np.sum([taken[f"{m}: {who}"] for m in pairs], axis=0).tolist() for who in ("ours", "library")
    }
    taken |= panel
    ratios["whole panel"] = rounds.ratio(taken, "panel: ours", "panel: library")
    rounds.report(f"explain_{backbone}", taken, ratios, "map")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["test_resnet", "test_vit"]:
        main(name)
