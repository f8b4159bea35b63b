"""What happens to a training picture: each augmentation is one function, and together they cost one pass.

An augmentation changes the random numbers of n pictures: their warp, their colour factors or their erased box. It is
registered by its name, and `extra_augmentations={"name": strength}` adds it to any recipe:

    @AUGMENTATIONS.register("stretch")
    def stretch(draws, rng, strength):
        draws.warp[:, 0] *= 1 + rng.uniform(-strength, strength, (len(draws), 1))
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from emohelpers.config.registry import AUGMENTATIONS

BRIGHTNESS, CONTRAST, SATURATION = range(3)  # columns of Draws.colour
ERASED_AREA = (0.02, 0.2)  # share of the picture that one erased rectangle covers
ERASED_RATIO = (0.3, 3.3)  # width / height
SMALLEST_CROP = 0.05  # share of the area, however strong


@dataclass(frozen=True)
class Draws:
    """Random numbers of n pictures, in units of the picture's side, from its centre (box: from its corner)."""

    warp: ndarray  # (n, 2, 3) output position -> source position, x before y, both in -0.5 .. 0.5
    colour: ndarray  # (n, 3) brightness, contrast and saturation factors
    box: ndarray  # (n, 4) erased left, top, right, bottom in 0 .. 1; empty where left == right

    @classmethod
    def still(cls, n: int) -> "Draws":
        """`n` pictures as they are."""
        return cls(np.tile(np.eye(2, 3), (n, 1, 1)), np.ones((n, 3)), np.zeros((n, 4)))

    def rounded(self) -> "Draws":
        """The same in float32."""
        return Draws(*(values.astype(np.float32) for values in vars(self).values()))

    def __getitem__(self, rows: ndarray) -> "Draws":
        return Draws(self.warp[rows], self.colour[rows], self.box[rows])

    def __len__(self) -> int:
        return len(self.warp)


@dataclass(frozen=True)
class Augmentation:
    """Strengths of what happens to a training picture; the names are those of `config.Training`."""

    crop_scale: tuple[float, float] = (0.8, 1.0)
    crop_ratio: tuple[float, float] = (0.9, 1.11)
    flip: float = 0.5
    rotation: float = 10.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    erasing: float = 0.25
    strength: Mapping[int, float] = field(default_factory=dict)  # epoch -> factor on the others from then on
    extra_augmentations: Mapping[str, float] = field(default_factory=dict, repr=False)  # name -> strength

    @classmethod
    def of(cls, cfg) -> "Augmentation":
        """The augmentation that a config describes."""
        return cls(**{name: getattr(cfg, name) for name in cls.__dataclass_fields__})

    def at(self, epoch: int) -> "Augmentation":
        """The augmentation of one epoch: with a strength of .5 half of everything but the mirroring."""
        begun = [start for start in self.strength if start <= epoch]
        if not begun:
            return replace(self, strength={})
        factor = self.strength[max(begun)]
        # Each moves about what changes nothing: 1 for the crop's scale and ratio, 0 for the others.
        shares = ("brightness", "contrast", "saturation", "erasing")
        return replace(
            self,
            crop_scale=tuple(max(1 - factor * (1 - share), SMALLEST_CROP) for share in self.crop_scale),
            crop_ratio=tuple(ratio**factor for ratio in self.crop_ratio),
            rotation=factor * self.rotation,
            **{name: min(factor * getattr(self, name), 1.0) for name in shares},
            extra_augmentations={name: factor * value for name, value in self.extra_augmentations.items()},
            strength={},
        )

    def draw(self, n: int, rng: Generator) -> Draws:
        """The random numbers of `n` pictures; fixed order of draws, whatever is switched off."""
        draws = Draws.still(n)
        # The built-in ones come first, so that one from outside changes none of their numbers.
        crop(draws, rng, self.crop_scale, self.crop_ratio)
        for name in ("rotation", "flip", "brightness", "contrast", "saturation", "erasing"):
            AUGMENTATIONS[name](draws, rng, getattr(self, name))
        for name, strength in self.extra_augmentations.items():
            AUGMENTATIONS[name](draws, rng, strength)
        return draws.rounded()


def crop(draws: Draws, rng: Generator, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    """Shows a part anywhere in the picture: `scale` of its area (low, high), width / height within `ratio`."""
    sides = _rectangles(len(draws), rng, scale, ratio)
    draws.warp[:, :, :2] *= sides[:, None]
    # The centre moves by half of what the sides leave at most, so that the crop stays inside.
    draws.warp[:, :, 2] = (1 - sides) * rng.uniform(-0.5, 0.5, sides.shape)


@AUGMENTATIONS.register("rotation")
def rotation(draws: Draws, rng: Generator, degrees: float) -> None:
    """Turns by up to `degrees` to either side."""
    angle = np.deg2rad(rng.uniform(-degrees, degrees, len(draws)))
    cos = np.cos(angle)
    sin = np.sin(angle)
    turn = np.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2)
    # From the left and without the shift: the rectangle that was cut out turns about its own centre.
    draws.warp[:, :, :2] = turn @ draws.warp[:, :, :2]


@AUGMENTATIONS.register("flip")
def flip(draws: Draws, rng: Generator, probability: float) -> None:
    """Mirrors left and right."""
    mirrored = rng.random(len(draws)) < probability
    # Column 0 belongs to the output's x: the crop stays where it is, what it shows is mirrored.
    draws.warp[mirrored, :, 0] *= -1


@AUGMENTATIONS.register("brightness")
def brightness(draws: Draws, rng: Generator, strength: float) -> None:
    """Multiplies all pixels by 1 +- `strength`."""
    draws.colour[:, BRIGHTNESS] *= _factors(draws, rng, strength)


@AUGMENTATIONS.register("contrast")
def contrast(draws: Draws, rng: Generator, strength: float) -> None:
    """Multiplies the distance from the mean grey by 1 +- `strength`."""
    draws.colour[:, CONTRAST] *= _factors(draws, rng, strength)


@AUGMENTATIONS.register("saturation")
def saturation(draws: Draws, rng: Generator, strength: float) -> None:
    """Multiplies the distance from grey by 1 +- `strength`."""
    draws.colour[:, SATURATION] *= _factors(draws, rng, strength)


@AUGMENTATIONS.register("erasing")
def erasing(draws: Draws, rng: Generator, probability: float) -> None:
    """Blanks one rectangle."""
    sides = _rectangles(len(draws), rng, ERASED_AREA, ERASED_RATIO)
    # Drawn for every picture, whatever the probability, so that all later numbers stay the same.
    corner = rng.random(sides.shape) * (1 - sides)
    sides[rng.random(len(draws)) >= probability] = 0
    draws.box[:] = np.concatenate([corner, corner + sides], 1)


def _factors(draws: Draws, rng: Generator, strength: float) -> ndarray:
    return 1 + rng.uniform(-strength, strength, len(draws))


def _rectangles(n: int, rng: Generator, areas: tuple[float, float], ratios: tuple[float, float]) -> ndarray:
    """(n, 2) width and height, 1 at most, of rectangles within such areas and ratios of width to height."""
    area = rng.uniform(*areas, n)
    # Uniform in the logarithm: 1:2 is as likely as 2:1.
    ratio = np.exp(rng.uniform(*np.log(ratios), n))
    sides = np.stack([area * ratio, area / ratio], 1)
    return np.minimum(np.sqrt(sides), 1)
