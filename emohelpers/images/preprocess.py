"""How a decoded square becomes the model's input: the one resize and the one normalisation of the suite."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy import ndarray
from torch import Tensor

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as OpenCV and torchvision


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the model's input; stored in every checkpoint and export."""

    side: int  # pixels of the decoded square, see pixels.fit_square
    img_size: int  # pixels of the model's input
    zoom: float  # the square is resized to img_size * zoom and its centre cut out
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"  # of evaluation that enlarges, as the weights expect; training warps bilinearly
    grey: bool = False  # colour is taken away, in training too

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Preprocess":
        """The preprocessing that a checkpoint, an ONNX file or `model.spec` holds as plain types, see `plain`."""
        return cls(**{**stored, "mean": tuple(stored["mean"]), "std": tuple(stored["std"])})

    def plain(self) -> dict[str, Any]:
        """Numbers, texts and lists by name, for a file."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def evaluate(self, squares: ndarray) -> ndarray:
        """(n, side, side, 3) -> (n, img_size, img_size, 3) uint8: the one resize of evaluation, export, prediction."""
        if self.grey:
            luma = (squares @ LUMA).round().astype(np.uint8)
            squares = np.repeat(luma[..., None], 3, axis=3)
        side = squares.shape[1]
        large = round(self.img_size * self.zoom)
        if large == side == self.img_size:
            return squares

        # Shrinking averages areas, enlarging does as the weights expect.
        if large < side:
            method = cv2.INTER_AREA
        elif self.interpolation == "bicubic":
            method = cv2.INTER_CUBIC
        else:
            method = cv2.INTER_LINEAR
        # Resize each, cut its centre out.
        low = (large - self.img_size) // 2
        centre = slice(low, low + self.img_size)
        pictures = np.empty((len(squares), self.img_size, self.img_size, 3), np.uint8)
        for picture, square in zip(pictures, squares, strict=True):
            resized = square if large == side else cv2.resize(square, (large, large), interpolation=method)
            picture[:] = resized[centre, centre]
        return pictures

    def normalise(self, pixels: Tensor) -> Tensor:
        """(n, h, w, 3) uint8 or float in 0..255 -> (n, 3, h, w) float32, channels-last in memory."""
        n, height, width, channels = pixels.shape
        scale, shift = _affine_rows(self, width, pixels.device)
        rows = pixels.reshape(n, height, width * channels).float()
        inputs = torch.addcmul(shift, rows, scale)
        return inputs.view(n, height, width, channels).permute(0, 3, 1, 2)

    @property
    def warped(self) -> int:
        """Pixels of the square that augmentation warps to: a third more than decoded holds what there is to see."""
        return min(self.img_size, round(self.side * 4 / 3))

    def enlarge(self, inputs: Tensor) -> Tensor:
        """(n, 3, warped, warped), channels-last in memory -> (n, 3, img_size, img_size), bilinear."""
        size = (self.img_size, self.img_size)
        if inputs.shape[2:] == size:
            return inputs
        if inputs.device.type != "cpu":
            return F.interpolate(inputs, size, mode="bilinear").contiguous(memory_format=torch.channels_last)
        # On the CPU OpenCV is faster.
        small = inputs.permute(0, 2, 3, 1).numpy()
        large = torch.empty(len(inputs), *size, 3)
        for source, target in zip(small, large.numpy(), strict=True):
            cv2.resize(source, size, dst=target, interpolation=cv2.INTER_LINEAR)
        return large.permute(0, 3, 1, 2)

    def affine(self) -> tuple[ndarray, ndarray]:
        """(3,) scale and shift that take 0..255 to the model's input."""
        mean = np.array(self.mean, np.float32)
        std = np.array(self.std, np.float32)
        return 1 / (255 * std), -mean / std


@lru_cache(maxsize=16)  # so that they go to a card once
def _affine_rows(preprocess: Preprocess, width: int, device: torch.device) -> tuple[Tensor, ...]:
    """`affine` for whole rows of pixels: three channels alone would be too short a row to be fast."""
    return tuple(torch.from_numpy(row).repeat(width).to(device) for row in preprocess.affine())
