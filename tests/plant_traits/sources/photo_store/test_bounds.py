from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from plant_traits.errors import PhotoError
from plant_traits.sources.photo_store.bounds import PhotoBounds, Picture, check_photo

BOUNDS = PhotoBounds()


def jpeg_with_header(photo: bytes, width: int, height: int) -> bytes:
    """Rewrite the size in the frame header of a JPEG."""
    at = photo.index(b"\xff\xc0") + 5
    return photo[:at] + struct.pack(">HH", height, width) + photo[at + 4 :]


def png_with_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def reason_of(data: bytes, bounds: PhotoBounds = BOUNDS) -> str:
    with pytest.raises(PhotoError) as caught:
        check_photo(data, bounds)
    return caught.value.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_whole_photo_passes(kind: str, photo: Callable[..., bytes]) -> None:
    assert check_photo(photo(1, 200, 104, kind), BOUNDS) == Picture(200, 104, kind)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_other_kinds_pass(mode: str, progressive: bool) -> None:
    out = io.BytesIO()
    Image.new(mode, (640, 480)).save(out, "JPEG", progressive=progressive)
    assert check_photo(out.getvalue(), BOUNDS) == Picture(640, 480, "JPEG")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "data",
    [
        jpeg_with_header,  # 65,535 x 65,535, the most that the format can say
        png_with_header(100_000, 100_000),  # ten gigapixels
        png_with_header(2**31 - 1, 2**31 - 1),
        png_with_header(12_000, 9_000),
    ],
    ids=["jpeg", "png-10-gigapixels", "png-largest", "png-108-megapixels"],
)
def test_a_bomb_is_refused_from_its_header(data: object, photo: Callable[..., bytes]) -> None:
    bomb = jpeg_with_header(photo(), 65_535, 65_535) if callable(data) else data
    assert isinstance(bomb, bytes)
    tracemalloc.start()
    try:
        assert reason_of(bomb) == "too_many_pixels"
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5 * 1024**2


def test_the_bound_on_pixels_is_ours(photo: Callable[..., bytes]) -> None:
    assert reason_of(photo(0, 200, 104), PhotoBounds(maximum_pixels=200 * 104 - 1)) == "too_many_pixels"
    assert check_photo(photo(0, 200, 104), PhotoBounds(maximum_pixels=200 * 104)).width == 200


@pytest.mark.parametrize(("width", "height"), [(63, 500), (500, 63)])
def test_a_photo_that_shows_nothing_is_too_small(width: int, height: int, photo: Callable[..., bytes]) -> None:
    assert reason_of(photo(0, width, height)) == "too_small"
    assert check_photo(photo(0, width, height), PhotoBounds(minimum_side=63)).height == height


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_photo_is_corrupt(kind: str, share: float, photo: Callable[..., bytes]) -> None:
    data = photo(3, 320, 240, kind)
    assert reason_of(data[: int(len(data) * share)]) == "corrupt"


def test_a_truncated_progressive_photo_is_corrupt() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", progressive=True)
    assert reason_of(out.getvalue()[: len(out.getvalue()) // 2]) == "corrupt"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_a_photo"),
        (b"<!DOCTYPE html><html><body>sign in</body></html>", "not_a_photo"),
        (b"GIF89a" + bytes(50), "not_a_photo"),
        (b"%PDF-1.7", "not_a_photo"),
        (b"\x80\x04\x95cos\nsystem\n", "not_a_photo"),
        (b"\xff\xd8\xff", "corrupt"),
        (b"\xff\xd8\xff\xe0" + bytes(300), "corrupt"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "corrupt"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "corrupt"),
    ],
)
def test_what_is_no_photo_says_so(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_too_many_bytes_are_not_looked_at(photo: Callable[..., bytes]) -> None:
    assert reason_of(photo(), PhotoBounds(maximum_bytes=len(photo()) - 1)) == "too_large"


def test_damage_anywhere_raises_nothing_but_a_photo_error(photo: Callable[..., bytes]) -> None:
    rng = np.random.default_rng(7)
    outcomes = set()
    for kind in ("JPEG", "PNG", "WEBP"):
        whole = np.frombuffer(photo(2, 96, 96, kind), dtype=np.uint8)
        for _ in range(150):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole), 8)] = rng.integers(0, 256, 8)
            try:
                check_photo(damaged.tobytes(), BOUNDS)
                outcomes.add("ok")
            except PhotoError as error:
                outcomes.add(error.reason)
    assert {"ok", "corrupt"} <= outcomes
