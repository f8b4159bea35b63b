"""Maps from inside the model: the CAM family by pytorch-grad-cam on whole batches, and attention rollout."""

import copy

import numpy as np
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.utils import AttentionExtract
from torch.nn.functional import interpolate

from emohelpers.explain.subject import ExplanationError, Subject, batches, begin_at, is_transformer


def grad_cam(subject: Subject, inputs: torch.Tensor, targets: np.ndarray) -> np.ndarray:
    """Selvaraju et al., arXiv 1610.02391: (n, 3, h, w) and classes (n,) -> (n, h, w) float32 in 0..1."""
    return _by_library(GradCAM, subject, inputs, targets)


def grad_cam_pp(subject: Subject, inputs: torch.Tensor, targets: np.ndarray) -> np.ndarray:
    """Chattopadhay et al., arXiv 1710.11063: shapes as of `grad_cam`."""
    return _by_library(GradCAMPlusPlus, subject, inputs, targets)


def layer_cam(subject: Subject, inputs: torch.Tensor, targets: np.ndarray) -> np.ndarray:
    """Jiang et al., IEEE TIP 2021: weighs each place by itself, made for fine stages; shapes as of `grad_cam`."""
    return _by_library(LayerCAM, subject, inputs, targets)


def _by_library(method: type, subject: Subject, inputs: torch.Tensor, targets: np.ndarray) -> np.ndarray:
    maps = []
    for part in batches(subject, len(inputs)):
        wanted = [ClassifierOutputTarget(int(target)) for target in targets[part]]
        with torch.enable_grad(), begin_at(subject) as layer:
            cam = method(subject.model, [layer], reshape_transform=subject.grid)
            try:  # not its own `with`: that swallows an IndexError and goes on without a map
                maps.append(cam(inputs[part], wanted))
            finally:
                cam.activations_and_grads.release()
    return np.concatenate(maps)


@torch.no_grad()
def rollout(subject: Subject, inputs: torch.Tensor, targets: np.ndarray) -> np.ndarray:
    """Attention rollout (Abnar & Zuidema, arXiv 2005.00928): (n, h, w) float32 in 0..1, the same for every class.

    Heads are averaged and the residual path counts one half. From the class token, or averaged over the patches of a
    model that pools them.

    Raises:
        ExplanationError: the model has no attention over all patches.
    """
    if not is_transformer(subject.model):
        raise ExplanationError(f"{type(subject.model).__name__} has no attention to roll out: leave out 'rollout'.")
    own, prefix, maps = copy.deepcopy(subject.model), subject.model.num_prefix_tokens, []
    for module in own.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # the fused kernel never holds the attention that is read here
    extract = AttentionExtract(own, method="hook")  # its hooks go with the copy
    for part in batches(subject, len(inputs)):
        flow = None
        for attention in extract(inputs[part]).values():  # each (n, heads, N, N), first block first
            mixed = (attention.mean(1) + torch.eye(attention.shape[-1], device=attention.device)) / 2
            flow = mixed if flow is None else mixed @ flow
        seen = flow[:, 0] if prefix else flow.mean(1)  # (n, N)
        maps.append(_spread(seen[:, prefix:].unflatten(1, own.patch_embed.grid_size), inputs))
    return np.concatenate(maps)


def _spread(coarse: torch.Tensor, inputs: torch.Tensor) -> np.ndarray:
    """(n, gh, gw) -> (n, h, w) in 0..1 for each map."""
    fine = interpolate(coarse[:, None].float(), inputs.shape[2:], mode="bilinear")[:, 0]
    low, high = fine.amin((1, 2), keepdim=True), fine.amax((1, 2), keepdim=True)
    return ((fine - low) / (high - low).clamp_min(1e-12)).cpu().numpy()
