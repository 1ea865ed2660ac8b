"""From an upright photo to the normalised square of pixels that an encoder was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side (bicubic), crop the centre, scale to (value / 255 - mean) / deviation.

    Attributes:
        resize: length of the shorter side after resizing, pixels.
        crop: side of the centre square, pixels, at most ``resize``.
        mean: channel means (red, green, blue) on the scale 0 to 1.
        deviation: channel standard deviations on the same scale.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def apply(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Return the pixels of an RGB image as (3, crop, crop) float32."""
        width, height = image.size
        shorter = min(width, height)
        if shorter != self.resize:
            width = max(round(width * self.resize / shorter), self.resize)
            height = max(round(height * self.resize / shorter), self.resize)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self.crop) // 2, (height - self.crop) // 2
        pixels = np.asarray(image.crop((left, top, left + self.crop, top + self.crop)), dtype=np.float32)
        mean, deviation = np.array(self.mean, dtype=np.float32), np.array(self.deviation, dtype=np.float32)
        scaled = (pixels / np.float32(255) - mean) / deviation
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


IMAGENET = Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What the DINO encoders expect, as in PlantTraitNet [arXiv 2511.06943]."""

EFFICIENTNET_LITE = Preprocessing(224, 224, (127 / 255,) * 3, (128 / 255,) * 3)
"""What EfficientNet-Lite was trained with: (value - 127) / 128. The whole shorter side is kept."""
