"""Every method of explanation, each in one place: its name, title, colour, what it needs, and how it computes its maps.

Another one is a class more, here or in a notebook; a CAM of pytorch-grad-cam needs no more than

    @METHODS.register("eigen_cam")
    class Eigen(Cam):
        title, colour, library = "Eigen-CAM", "#b08a3e", EigenCAM
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import pytorch_grad_cam
from numpy import ndarray
from pytorch_grad_cam.base_cam import BaseCAM
from torch import Tensor
from torch.nn import Module

from emohelpers.config.registry import METHODS
from emohelpers.explain import attributions, cams
from emohelpers.explain.classifier import Classifier, is_transformer

SMOOTH = 0.02  # standard deviation of the blur that makes a map of SHAP's pixels, in sides of the picture


@dataclass(frozen=True)
class Maps:
    """Maps of one method, and how well the method fits the model by its own account, where it says so."""

    values: ndarray  # (n, h, w) float32: CAMs and attention 0..1; SHAP and LIME signed, in logits and probability
    fit: ndarray | None = None  # (n,): SHAP's unexplained share of the logit's gain, R2 of LIME's linear surrogate

    @property
    def empty(self) -> ndarray:
        """Which maps say nothing (n,): not finite, or the same everywhere."""
        finite = np.isfinite(self.values).all(axis=(1, 2))
        span = np.ptp(np.where(finite[:, None, None], self.values, 0), axis=(1, 2))
        return ~finite | (span == 0)


class Method:
    """One way to explain a classifier's decision."""

    title: ClassVar[str]  # in figures and tables
    colour: ClassVar[str]  # in figures
    kind: ClassVar[str] = "attribution"  # "attribution", "attention", or "CAM", which is read from a layer
    deterministic: ClassVar[bool] = True  # False: it draws, so that another seed gives another map

    @classmethod
    def suits(cls, model: Module) -> bool:
        """Whether the method can explain this model at all."""
        return True

    @classmethod
    def maps(
        cls,
        classifier: Classifier,
        squares: ndarray,  # (n, s, s, 3) uint8
        targets: ndarray,  # (n,) class indices
        background: Tensor,  # (m, 3, h, w): inputs of training pictures
        cfg: Any,  # the `config.Explain` fields
        seed: int,
    ) -> Maps:
        """Maps of the classes `targets`, one a picture, of the size of the model's input."""
        raise NotImplementedError


class Cam(Method):
    """A class activation map by pytorch-grad-cam."""

    kind = "CAM"
    library: ClassVar[type[BaseCAM]]

    @classmethod
    def maps(cls, classifier, squares, targets, background, cfg, seed):
        return Maps(cams.class_activation(cls.library, classifier, classifier.inputs(squares), targets))


@METHODS.register("grad_cam")
class GradCam(Cam):
    """Selvaraju et al., arXiv 1610.02391."""

    title = "Grad-CAM"
    colour = "#2f6f8f"
    library = pytorch_grad_cam.GradCAM


@METHODS.register("grad_cam_pp")
class GradCamPlusPlus(Cam):
    """Chattopadhay et al., arXiv 1710.11063."""

    title = "Grad-CAM++"
    colour = "#5aa3a3"
    library = pytorch_grad_cam.GradCAMPlusPlus


@METHODS.register("layer_cam")
class LayerCam(Cam):
    """Jiang et al., IEEE TIP 2021: weighs each cell by itself, made for fine stages."""

    title = "LayerCAM"
    colour = "#3d4f8f"
    library = pytorch_grad_cam.LayerCAM


@METHODS.register("shap")
class Shap(Method):
    """Erion et al., arXiv 1906.10670; valid for every net that has gradients, and smoothed into a map."""

    title = "SHAP"
    colour = "#d1603d"
    deterministic = False

    @classmethod
    def maps(cls, classifier, squares, targets, background, cfg, seed):
        inputs = classifier.inputs(squares)
        values = attributions.expected_gradients(
            classifier, inputs, targets, background, samples=cfg.shap_samples, seed=seed
        )
        sigma = SMOOTH * values.shape[2]
        smoothed = [cv2.GaussianBlur(pixels, (0, 0), sigma) for pixels in values.sum(1)]
        return Maps(np.stack(smoothed), attributions.unexplained(classifier, values, inputs, targets, background))


@METHODS.register("lime")
class Lime(Method):
    """Ribeiro et al., arXiv 1602.04938."""

    title = "LIME"
    colour = "#6f8f3a"
    deterministic = False

    @classmethod
    def maps(cls, classifier, squares, targets, background, cfg, seed):
        pictures = classifier.preprocess.evaluate(squares)
        weights, fits = attributions.lime(
            classifier, pictures, targets, samples=cfg.lime_samples, segments=cfg.lime_segments, seed=seed
        )
        return Maps(weights, fits)


@METHODS.register("rollout")
class Rollout(Method):
    """Abnar & Zuidema, arXiv 2005.00928; for transformers, and the same map for every class."""

    title = "attention rollout"
    colour = "#8a5a9e"
    kind = "attention"

    @classmethod
    def suits(cls, model):
        return is_transformer(model)

    @classmethod
    def maps(cls, classifier, squares, targets, background, cfg, seed):
        return Maps(cams.rollout(classifier, classifier.inputs(squares)))
