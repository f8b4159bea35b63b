"""Nets: built strictly, frozen in parts, with their heads."""

from emohelpers.models.factory import build, load, newest, prepared, preprocess, rebuild, save
from emohelpers.models.freeze import count, depth, freeze, head_parameters, moving, stages, training_mode
from emohelpers.models.kernels import depthwise_in_fp32, out_of_place
from emohelpers.models.weights import WeightsError

__all__ = [
    "WeightsError",
    "build",
    "count",
    "depth",
    "depthwise_in_fp32",
    "freeze",
    "head_parameters",
    "load",
    "moving",
    "newest",
    "out_of_place",
    "prepared",
    "preprocess",
    "rebuild",
    "save",
    "stages",
    "training_mode",
]
