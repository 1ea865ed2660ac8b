"""What a camera and its owner do to a scene: light, blur, noise, compression, and which side of the file is up."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

_ORIENTATION_TAG = 0x0112
# how to store an upright picture so that the viewer's correction for the tag restores it
_STORED_AS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}


def develop(rng: np.random.Generator, image: Image.Image, care: float) -> Image.Image:
    """Halve a scene to its final size and give it light, a cast, some blur and noise, more where care is low."""
    image = image.reduce(2)
    sloppy = 1.0 - care
    blur = max(0.0, float(rng.normal(-0.2, 0.7)) + 1.6 * sloppy**2) * image.height / 300
    if blur > 0.25:
        image = image.filter(ImageFilter.BoxBlur(blur))
    exposure = float(np.exp(rng.normal(0.0, 0.14)))
    cast = np.exp(rng.normal(0.0, 0.04, 3))
    contrast = float(np.exp(rng.normal(0.0, 0.10)))
    level = np.arange(256) / 255
    curve = (0.45 + (level[None, :] * exposure * cast[:, None] - 0.45) * contrast).clip(0, 1) * 255
    image = image.point(curve.round().astype(int).ravel().tolist())
    pixels = np.asarray(image).astype(np.int16)
    shape = pixels.shape[:2]
    grain = np.frombuffer(rng.bytes(shape[0] * shape[1]), dtype=np.int8).reshape(shape)
    strength = int(rng.integers(1, 5)) + int(4 * sloppy)
    pixels += (grain.astype(np.int16) * strength >> 6)[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save_jpeg(image: Image.Image, quality: int, orientation: int | None = None) -> bytes:
    """Return an image as JPEG, with an EXIF orientation where one is given."""
    buffer = io.BytesIO()
    if orientation is None:
        image.save(buffer, "JPEG", quality=quality)
    else:
        exif = Image.Exif()
        exif[_ORIENTATION_TAG] = orientation
        image.save(buffer, "JPEG", quality=quality, exif=exif)
    return buffer.getvalue()


def store_rotated(data: bytes, orientation: int) -> bytes:
    """Return a JPEG whose pixels lie on their side or head and whose EXIF orientation (3 or 6) puts them right."""
    with Image.open(io.BytesIO(data)) as image:
        turned = image.convert("RGB").transpose(_STORED_AS[orientation])
    return save_jpeg(turned, 95, orientation)
