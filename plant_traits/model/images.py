"""From the bytes of a photo, which come from outside and are hostile, to a bounded upright RGB image."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

from PIL import Image, ImageOps, UnidentifiedImageError

from plant_traits.errors import PhotoError

MAXIMUM_BYTES = 25_000_000
MAXIMUM_PIXELS = 100_000_000
MINIMUM_SIDE = 32
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF")  # Pillow opens a camera's MPO as the JPEG it also is

# What Pillow's decoders raise on damaged files, besides OSError (which UnidentifiedImageError is).
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)


def decode_photo(data: bytes) -> Image.Image:
    """Decode a photo, upright by its EXIF orientation, as RGB.

    The size is checked on the bytes and on the header, before any pixel is decoded, so a decompression bomb costs
    nothing. A truncated file is corrupt: it is not filled up with grey.

    Args:
        data: the encoded photo, at most 25 MB, of one of ``FORMATS``.

    Returns:
        An RGB image of at least 32 pixels on each side and at most 100 megapixels.

    Raises:
        PhotoError: with the reason ``not_an_image``, ``too_large``, ``too_small`` or ``corrupt``.
    """
    if len(data) > MAXIMUM_BYTES:
        raise PhotoError("too_large", f"expected at most {MAXIMUM_BYTES} bytes, found {len(data)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise PhotoError("not_an_image", f"expected one of {', '.join(FORMATS)}, found {data[:8]!r}") from error
    except Image.DecompressionBombError as error:
        raise PhotoError("too_large", f"expected at most {MAXIMUM_PIXELS} pixels: {error}") from error
    except _DECODER_ERRORS as error:
        raise PhotoError("corrupt", f"the header cannot be read: {error}") from error
    width, height = image.size
    if width * height > MAXIMUM_PIXELS:
        raise PhotoError("too_large", f"expected at most {MAXIMUM_PIXELS} pixels, found {width} x {height}")
    if min(width, height) < MINIMUM_SIDE:
        raise PhotoError("too_small", f"expected at least {MINIMUM_SIDE} pixels a side, found {width} x {height}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF blocks warn; the pixels are what counts
            image.load()
            return ImageOps.exif_transpose(image).convert("RGB")
    except _DECODER_ERRORS as error:
        raise PhotoError("corrupt", f"{image.format} of {width} x {height} cannot be decoded: {error}") from error
