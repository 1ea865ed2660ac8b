"""How a plant's traits look: colours, leaf size, gloss, and how near the camera has to be."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """Trait values turned into what a painter needs.

    Attributes:
        habit: tree, shrub, forb or graminoid.
        height_m: plant height, m.
        tall: ln height (m).
        leaf: (ln leaf area in mm² - 7) / 1.4, about -2 to 2.
        green: standardised ln leaf nitrogen.
        thin: standardised ln specific leaf area; low is thick and glossy.
        crown: 0 conical to 1 spreading.
        flower: flower colour.
        colourful: 0 to 1, how much it flowers.
    """

    habit: str
    height_m: float
    tall: float
    leaf: float
    green: float
    thin: float
    crown: float
    flower: Colour
    colourful: float

    def leaf_length(self, frame: float, near: float = 1.0) -> float:
        """Return the length of a leaf in pixels of a frame whose shorter side is ``frame``.

        Leaves of whole plants are drawn larger than life, otherwise no photo of a tree would show them.
        """
        size = 0.042 * near * float(np.exp(0.62 * self.leaf))
        return frame * min(max(size, 0.012), 0.55)

    def foliage(self, shade: float = 0.0) -> Colour:
        """Return the leaf colour: yellow and pale to blue-green and dark with nitrogen, greyish where leaves are thick.

        Args:
            shade: relative change of brightness, about -0.5 to 0.3.
        """
        hue = (98 + 27 * self.green - 4 * self.thin) / 360
        saturation = 0.60 + 0.17 * self.thin + 0.03 * self.green
        value = (0.56 + 0.075 * self.thin - 0.075 * self.green) * (1 + shade)
        return rgb(min(max(hue, 0.13), 0.47), min(max(saturation, 0.16), 0.95), min(max(value, 0.13), 0.96))


def rgb(hue: float, saturation: float, value: float) -> Colour:
    """Return a colour from hue, saturation and value, each 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return int(red * 255), int(green * 255), int(blue * 255)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return a colour between two, ``share`` of the way to the other."""
    a, b, c = (int(x + (y - x) * share) for x, y in zip(one, other, strict=True))
    return a, b, c
