"""Whether bytes from outside are a whole, harmless photo of a useful size."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from plant_traits.errors import PhotoError

FORMATS = ("JPEG", "PNG", "WEBP")
_MAGIC = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"RIFF", "WEBP"))
_PREVIEW_SIDE = 64  # a JPEG is decoded at a fraction of its size: all of its bytes are read, few pixels are kept
_DECODERS = threading.BoundedSemaphore(4)  # a progressive photo of 50 megapixels takes some 300 MB while decoded

# What Pillow's decoders raise on damaged files, besides OSError.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class PhotoBounds:
    """How large and how small a photo may be.

    Attributes:
        maximum_bytes: of the file.
        maximum_pixels: width times height.
        minimum_side: pixels of the shorter side.
    """

    maximum_bytes: int = 25 * 1024**2
    maximum_pixels: int = 50_000_000
    minimum_side: int = 64


@dataclass(frozen=True)
class Picture:
    """What a photo file says it is, and was found to be.

    Attributes:
        width: pixels.
        height: pixels.
        format: JPEG, PNG or WEBP.
    """

    width: int
    height: int
    format: str


def check_photo(data: bytes, bounds: PhotoBounds) -> Picture:
    """Decode a photo to the end, once its first bytes and its header have been found harmless.

    Raises:
        PhotoError: ``too_large`` (bytes), ``not_a_photo`` (another format), ``too_many_pixels`` and ``too_small`` (from
            the header, no pixel is decoded) or ``corrupt`` (truncated or damaged).
    """
    if len(data) > bounds.maximum_bytes:
        raise PhotoError("too_large", f"expected at most {bounds.maximum_bytes} bytes, found {len(data)}")
    name = next((name for magic, name in _MAGIC if data.startswith(magic)), None)
    if name is None:
        raise PhotoError("not_a_photo", f"expected one of {', '.join(FORMATS)}, found {data[:16]!r}")
    try:
        with Image.open(io.BytesIO(data), formats=[name]) as image:
            width, height = image.size
            if width * height > bounds.maximum_pixels:
                raise PhotoError(
                    "too_many_pixels", f"expected at most {bounds.maximum_pixels} pixels, found {width} x {height}"
                )
            if min(width, height) < bounds.minimum_side:
                raise PhotoError(
                    "too_small", f"expected at least {bounds.minimum_side} pixels a side, found {width} x {height}"
                )
            image.draft("RGB", (_PREVIEW_SIDE, _PREVIEW_SIDE))
            with _DECODERS:
                image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError("too_many_pixels", f"expected at most {bounds.maximum_pixels} pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise PhotoError("corrupt", f"it begins like a {name} and has no readable header") from error
    except _DECODER_ERRORS as error:
        raise PhotoError("corrupt", f"{name}: {error}") from error
    return Picture(width, height, name)
