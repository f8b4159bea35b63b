"""Pictures from squares and drawn numbers: one colour pass and one affine warp each, on the CPU or on a card."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy import ndarray
from torch import Tensor

from emohelpers.images.augment import Draws
from emohelpers.images.preprocess import LUMA, Preprocess


def on_cpu(squares: ndarray, draws: Draws, preprocess: Preprocess) -> ndarray:
    """(n, s, s, 3) -> (n, warped, warped, 3) uint8 by OpenCV, the CPU's fastest way.

    Erased rectangles get the model's mean, which is zero after normalisation. Where the model wants more pixels,
    `Preprocess.enlarge` comes after normalisation.
    """
    out = preprocess.warped
    size = (out, out)
    warps = _pixel_warps(draws.warp, squares.shape[1], out)
    colours, offsets = _colour_matrices(draws.colour, preprocess.grey)
    boxes = np.rint(draws.box * out).astype(int)
    fill = [round(255 * mean) for mean in preprocess.mean]
    pictures = np.empty((len(squares), *size, 3), np.uint8)
    warped = np.empty((*size, 4), np.uint8)
    for square, warp, colour, offset, box, picture in zip(
        squares, warps, colours, offsets, boxes, pictures, strict=True
    ):
        # Contrast turns about the picture's own mean grey, which is known only here.
        colour[:, 3] = offset * (LUMA @ cv2.mean(square)[:3])
        coloured = cv2.transform(square, colour)
        four = cv2.cvtColor(coloured, cv2.COLOR_RGB2RGBA)  # four channels are warped twice as fast as three
        # By the inverse map the matrix leads from the output to the source, as `Draws` has it.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(four, warp, size, dst=warped, flags=flags, borderMode=cv2.BORDER_REFLECT)
        cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=picture)
        left, top, right, bottom = box
        if right > left:
            picture[top:bottom, left:right] = fill
    return pictures


def _pixel_warps(warp: ndarray, side: int, out: int) -> ndarray:
    """(n, 2, 3) from pixels of the output to pixels of the square.

    Pixel centres lie at +0.5: p_source = L (p_out + 0.5 - out/2) + shift*side + side/2 - 0.5.
    """
    linear = warp[:, :, :2] * (side / out)
    shift = warp[:, :, 2:]
    moved = shift * side + (side - 1) / 2 - (linear * ((out - 1) / 2)).sum(2, keepdims=True)
    return np.concatenate([linear, moved], 2)


def _colour_matrices(colour: ndarray, grey: bool) -> tuple[ndarray, ndarray]:
    """(n, 3, 4) matrices whose last column is still to be filled with (n,) offsets times a picture's mean grey."""
    gain, contrast, saturation = colour.T[:, :, None, None]
    saturation = saturation * (not grey)
    matrices = np.empty((len(colour), 3, 4), np.float32)
    # Without saturation every row is LUMA: all three channels become the pixel's grey.
    mixed = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * LUMA
    matrices[:, :, :3] = gain * contrast * mixed
    return matrices, (gain * (1 - contrast)).ravel()


def on_device(squares: Tensor, draws: Draws, preprocess: Preprocess) -> Tensor:
    """(n, s, s, 3) uint8 -> (n, 3, img_size, img_size): the same pictures as `on_cpu`, a whole batch at once."""
    device = squares.device
    n = len(squares)
    out = preprocess.warped

    def placed(values: ndarray) -> Tensor:
        return torch.from_numpy(values).to(device, non_blocking=True)

    # Colour: brightness and contrast around the mean grey, saturation around each pixel's grey.
    luma = placed(LUMA)
    gain, contrast, saturation = placed(draws.colour).T.reshape(3, n, 1, 1, 1)
    saturation = saturation * (not preprocess.grey)
    x = squares.permute(0, 3, 1, 2).float()
    mean = torch.einsum("nchw,c->n", x, luma).view(n, 1, 1, 1) / (x.shape[2] * x.shape[3])
    grey = torch.einsum("nchw,c->nhw", x, luma).unsqueeze(1)
    x = gain * contrast * (saturation * x + (1 - saturation) * grey) + gain * mean * (1 - contrast)
    # Clamped as the CPU's uint8 is; normalising and warping are both linear, so either may come first.
    x = preprocess.normalise(x.clamp_(0, 255).permute(0, 2, 3, 1))

    # Geometry: grid_sample counts from -1 to 1, so that a shift of half a side is 1.
    theta = placed(draws.warp)
    theta = torch.cat([theta[:, :, :2], 2 * theta[:, :, 2:]], 2)
    grid = F.affine_grid(theta, [n, 3, out, out], align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    # Erased rectangles: zero is the model's mean.
    pixel = torch.arange(out, device=device)
    left, top, right, bottom = (placed(draws.box) * out).round().T.unsqueeze(2)
    columns = (pixel >= left) & (pixel < right)
    rows = (pixel >= top) & (pixel < bottom)
    erased = columns.unsqueeze(1) & rows.unsqueeze(2)
    x = x.masked_fill(erased.unsqueeze(1), 0).contiguous(memory_format=torch.channels_last)
    return preprocess.enlarge(x)
