import io

import numpy as np
import pytest
from PIL import Image

from plant_traits.errors import PhotoError
from plant_traits.model.images import decode_photo
from plant_traits.model.preprocessing import IMAGENET, Preprocessing


def encoded(size: tuple[int, int] = (64, 48), form: str = "JPEG", exif: Image.Exif | None = None) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, exif=exif or Image.Exif())
    return buffer.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        decode_photo(data)
    return caught.value.reason


def test_a_photo_becomes_rgb() -> None:
    image = decode_photo(encoded(form="PNG"))
    assert (image.mode, image.size) == ("RGB", (64, 48))


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: width and height swap
    assert decode_photo(encoded(exif=exif)).size == (48, 64)


@pytest.mark.parametrize("data", [b"", b"<html>not here</html>", b"\x00" * 100])
def test_what_is_no_image(data: bytes) -> None:
    assert reason(data) == "not_an_image"


def test_a_truncated_photo_is_corrupt() -> None:
    whole = encoded(size=(200, 200))
    assert reason(whole[: len(whole) // 2]) == "corrupt"


def test_a_tiny_photo_is_too_small() -> None:
    assert reason(encoded(size=(31, 200))) == "too_small"


def test_many_pixels_are_refused_by_the_header_alone() -> None:
    header = encoded(size=(64, 64), form="PNG")
    bomb = header[:16] + (20_000).to_bytes(4, "big") + (20_000).to_bytes(4, "big") + header[24:29]
    import zlib

    bomb += zlib.crc32(bomb[12:29]).to_bytes(4, "big") + header[33:]
    assert reason(bomb) == "too_large"


def test_many_bytes_are_refused() -> None:
    assert reason(b"\xff" * 25_000_001) == "too_large"


def test_preprocessing_crops_the_centre_and_normalises() -> None:
    image = Image.new("RGB", (400, 300), (124, 116, 104))
    pixels = IMAGENET.apply(image)
    assert pixels.shape == (3, 224, 224)
    assert pixels.dtype == np.float32
    assert pixels[:, 5, 5].tolist() == pytest.approx(
        [(124 / 255 - 0.485) / 0.229, (116 / 255 - 0.456) / 0.224, (104 / 255 - 0.406) / 0.225], abs=1e-6
    )


def test_preprocessing_leaves_a_photo_of_the_right_size_alone() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 32, 3), dtype=np.uint8)
    plain = Preprocessing(32, 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    expected = pixels[4:36].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(plain.apply(Image.fromarray(pixels)), expected, atol=1e-6)
