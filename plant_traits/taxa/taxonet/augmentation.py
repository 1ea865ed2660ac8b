"""Mix a photo with chains of altered copies of itself, so that a classifier learns what survives the alterations.

A few chains of one to three random operations are mixed with Dirichlet weights, and that mixture with the photo by a
Beta weight [AugMix, Hendrycks et al. 2020]. Operations alter geometry or tone, never so far that a plant is lost.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from plant_traits.errors import ModelError

CHAINS = 3
LONGEST = 3
_GREY = (124, 116, 104)  # what stands where a turned photo leaves a corner free, about the mean of photos

Operation = Callable[[Image.Image, float, float], Image.Image]
"""Alters a photo by a strength from 0 to 1 and a sign of 1 or -1."""


def augment(
    image: Image.Image, rng: np.random.Generator, *, severity: float = 0.4, chains: int = CHAINS
) -> Image.Image:
    """Return an altered copy of an RGB photo, of the same size; the same generator state gives the same pixels.

    Args:
        image: RGB.
        rng: decides everything.
        severity: largest strength of an operation, 0 (no change) to 1.
        chains: how many altered copies are mixed.

    Raises:
        ModelError: the photo is not RGB, or the severity or the number of chains is out of range.
    """
    if image.mode != "RGB" or not 0 <= severity <= 1 or chains < 1:
        raise ModelError(
            f"augmentation: expected an RGB photo, a severity from 0 to 1 and a chain or more, found {image.mode}, "
            f"{severity} and {chains}"
        )
    weights = rng.dirichlet(np.ones(chains))
    share = rng.beta(1.0, 1.0)
    original = np.asarray(image, dtype=np.float64)
    mixture = np.zeros_like(original)
    for weight in weights:
        altered = image
        for _ in range(int(rng.integers(1, LONGEST + 1))):
            operation = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
            strength, sign = severity * rng.random(), 1.0 if rng.random() < 0.5 else -1.0
            altered = operation(altered, strength, sign)
        mixture += weight * np.asarray(altered, dtype=np.float64)
    mixed = (1 - share) * original + share * mixture
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def crop_and_flip(image: Image.Image, rng: np.random.Generator, *, least: float = 0.7) -> Image.Image:
    """Return a random part of a photo, half the time mirrored, of the same size: the customary alteration in training.

    Args:
        image: RGB.
        rng: decides everything.
        least: smallest share of each side that is kept, above 0 and at most 1.

    Raises:
        ModelError: the share is out of range.
    """
    if not 0 < least <= 1:
        raise ModelError(f"crop of a photo: expected a least share of its sides above 0 and at most 1, found {least}")
    share = rng.uniform(least, 1.0)
    width, height = max(1, round(share * image.width)), max(1, round(share * image.height))
    left = int(rng.integers(0, image.width - width + 1))
    top = int(rng.integers(0, image.height - height + 1))
    part = image.resize(image.size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
    return ImageOps.mirror(part) if rng.random() < 0.5 else part


def _affine(image: Image.Image, matrix: tuple[float, float, float, float, float, float]) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR, fillcolor=_GREY
    )


def _rotated(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return image.rotate(30 * strength * sign, resample=Image.Resampling.BILINEAR, fillcolor=_GREY)


def _sheared_across(image: Image.Image, strength: float, sign: float) -> Image.Image:
    lean = 0.3 * strength * sign
    return _affine(image, (1, lean, -lean * image.height / 2, 0, 1, 0))


def _sheared_along(image: Image.Image, strength: float, sign: float) -> Image.Image:
    lean = 0.3 * strength * sign
    return _affine(image, (1, 0, 0, lean, 1, -lean * image.width / 2))


def _shifted_across(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return _affine(image, (1, 0, 0.3 * strength * sign * image.width, 0, 1, 0))


def _shifted_along(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, 0.3 * strength * sign * image.height))


def _enlarged(image: Image.Image, strength: float, _sign: float) -> Image.Image:
    scale = 1 - 0.4 * strength
    margin = (1 - scale) / 2
    return _affine(image, (scale, 0, margin * image.width, 0, scale, margin * image.height))


def _contrast_stretched(image: Image.Image, strength: float, _sign: float) -> Image.Image:
    return Image.blend(image, ImageOps.autocontrast(image), strength)


def _equalised(image: Image.Image, strength: float, _sign: float) -> Image.Image:
    return Image.blend(image, ImageOps.equalize(image), strength)


def _posterised(image: Image.Image, strength: float, _sign: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(4 * strength))


def _brightened(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1 + 0.5 * strength * sign)


def _sharpened(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(1 + 0.9 * strength * sign)


OPERATIONS: tuple[Operation, ...] = (
    _rotated,
    _sheared_across,
    _sheared_along,
    _shifted_across,
    _shifted_along,
    _enlarged,
    _contrast_stretched,
    _equalised,
    _posterised,
    _brightened,
    _sharpened,
)
