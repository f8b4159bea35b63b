"""Maps from inside a model: the CAM family by pytorch-grad-cam on whole batches, and attention rollout."""

import copy

import numpy as np
import torch
from numpy import ndarray
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.utils import AttentionExtract
from torch import Tensor
from torch.nn.functional import interpolate

from emohelpers.explain.classifier import Classifier, ExplanationError, is_transformer
from emohelpers.models import devices


def class_activation(library: type[BaseCAM], classifier: Classifier, inputs: Tensor, targets: ndarray) -> ndarray:
    """A CAM of pytorch-grad-cam at the classifier's layer: (n, 3, h, w) and classes (n,) -> (n, h, w) float32, 0..1."""
    maps = []
    for batch in classifier.batches(len(inputs)):
        outputs = [ClassifierOutputTarget(int(target)) for target in targets[batch]]
        # In fp32 on a card too: Grad-CAM++ takes gradients to the third power, which half precision does not hold.
        with torch.enable_grad(), classifier.gradients_from_layer() as layer:
            cam = library(classifier.model, [layer], reshape_transform=classifier.grid)
            try:  # not its own `with`: that swallows an IndexError and goes on without a map
                maps.append(cam(inputs[batch], outputs))
            finally:
                cam.activations_and_grads.release()
    return np.concatenate(maps)


@torch.no_grad()
def rollout(classifier: Classifier, inputs: Tensor) -> ndarray:
    """Attention rollout (Abnar & Zuidema, arXiv 2005.00928): (n, 3, h, w) -> (n, h, w) float32, 0..1, for any class.

    Heads are averaged and the residual path counts one half. From the class token, or averaged over the patches of a
    model that pools them.

    Raises:
        ExplanationError: the model has no attention over all patches.
    """
    if not is_transformer(classifier.model):
        name = type(classifier.model).__name__
        raise ExplanationError(f"{name} has no attention to roll out: leave out 'rollout'.")
    model = copy.deepcopy(classifier.model)
    # The fused kernel never holds the attention that is read here.
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    extract = AttentionExtract(model, method="hook")  # its hooks go with the copy
    prefix = model.num_prefix_tokens
    maps = []
    for batch in classifier.batches(len(inputs)):
        # From block to block: how much of each patch arrives in each token.
        flow = None
        with devices.autocast(classifier.device):
            attentions = extract(inputs[batch])
        for attention in attentions.values():  # each (n, heads, N, N), first block first
            residual = torch.eye(attention.shape[-1], device=attention.device)
            mixed = (attention.float().mean(1) + residual) / 2
            flow = mixed if flow is None else mixed @ flow
        # What arrives in the class token, back on the grid of the patches.
        tokens = flow[:, 0] if prefix else flow.mean(1)  # (n, N)
        patches = tokens[:, prefix:].unflatten(1, model.patch_embed.grid_size)
        maps.append(_enlarged(patches, inputs.shape[2:]))
    return np.concatenate(maps)


def _enlarged(coarse: Tensor, size: torch.Size) -> ndarray:
    """(n, gh, gw) -> (n, h, w), each map stretched to 0..1."""
    fine = interpolate(coarse[:, None].float(), size, mode="bilinear")[:, 0]
    low = fine.amin((1, 2), keepdim=True)
    high = fine.amax((1, 2), keepdim=True)
    return ((fine - low) / (high - low).clamp_min(1e-12)).cpu().numpy()
