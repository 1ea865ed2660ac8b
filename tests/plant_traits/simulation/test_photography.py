"""Photos of virtual plants: same bytes each time, valid files, traits in the pixels, and what goes wrong."""

import colorsys
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from plant_traits.errors import InputError
from plant_traits.simulation.photography.picture import HABITS, Picture, corrupt, render, rotated, useless

PLANT = Picture(
    habit="shrub",
    height_m=1.8,
    leaf_area_mm2=900.0,
    leaf_n=19.0,
    sla=14.0,
    flower_hue=0.3,
    colourful=0.2,
    crown=0.5,
    closeness=-1.0,
    care=0.8,
    biome_hue=0.5,
    seed=1,
)


def decode(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def centre(data: bytes) -> np.ndarray:
    image = decode(data)
    width, height = image.size
    side = min(width, height) // 3
    left, top = (width - side) // 2, (height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float64)


def plants(count: int, **changes: object) -> list[Picture]:
    return [replace(PLANT, seed=k, habit=HABITS[k % 4], **changes) for k in range(count)]


def mean_of(statistic: Callable[[np.ndarray], float], pictures: list[Picture]) -> float:
    return float(np.mean([statistic(centre(render(picture, 96))) for picture in pictures]))


def hue(pixels: np.ndarray) -> float:
    """Hue of the pixels that are green rather than blue or brown, in degrees."""
    red, green, blue = (pixels[..., k] for k in range(3))
    leafy = (green > red * 0.98) & (green > blue * 1.05)
    if not leafy.any():
        return 60.0
    return colorsys.rgb_to_hsv(*(pixels[leafy].mean(0) / 255))[0] * 360


def test_the_same_picture_gives_the_same_bytes_and_another_seed_others() -> None:
    assert render(PLANT, 128) == render(PLANT, 128)
    assert render(PLANT, 128) != render(replace(PLANT, seed=2), 128)
    assert useless(5, 128) == useless(5, 128)
    assert corrupt(b"x" * 100, 3) == corrupt(b"x" * 100, 3)


@pytest.mark.parametrize("size", [64, 128, 224])
def test_photos_are_four_to_three_jpegs_of_the_wanted_size(size: int) -> None:
    shapes = set()
    for picture in plants(24):
        image = decode(render(picture, size))
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        shapes.add(image.size)
    assert shapes == {(size, round(size * 4 / 3)), (round(size * 4 / 3), size)}


@settings(max_examples=60, deadline=None)
@given(
    habit=st.sampled_from(HABITS),
    height=st.floats(0.005, 110),
    area=st.floats(0.5, 1e6),
    nitrogen=st.floats(2, 90),
    sla=st.floats(0.5, 120),
    unit=st.floats(0, 1),
    closeness=st.floats(-5, 5),
    seed=st.integers(0, 2**40),
)
def test_every_credible_plant_can_be_drawn(
    habit: str, height: float, area: float, nitrogen: float, sla: float, unit: float, closeness: float, seed: int
) -> None:
    picture = Picture(habit, height, area, nitrogen, sla, unit, 1 - unit, unit, closeness, unit, 1 - unit, seed)
    assert min(decode(render(picture, 64)).size) == 64


def test_nitrogen_turns_leaves_from_yellow_to_blue_green_and_darker() -> None:
    hues = [mean_of(hue, plants(24, leaf_n=value)) for value in (9.0, 19.0, 40.0)]
    assert hues[0] < hues[1] - 8 < hues[2] - 16
    brightness = [mean_of(lambda pixels: pixels.max(axis=-1).mean(), plants(24, leaf_n=value)) for value in (9.0, 40.0)]
    assert brightness[0] > brightness[1] + 8


def test_thick_leaves_are_greyer() -> None:
    def saturation(pixels: np.ndarray) -> float:
        return float((1 - pixels.min(axis=-1) / np.maximum(pixels.max(axis=-1), 1)).mean())

    assert mean_of(saturation, plants(24, sla=6.0)) < mean_of(saturation, plants(24, sla=30.0)) - 0.05


def test_tall_plants_stand_before_the_sky_and_low_ones_on_the_ground() -> None:
    def blue_minus_red_above(picture: Picture) -> float:
        pixels = np.asarray(decode(render(picture, 96)), dtype=np.float64)
        upper = pixels[: pixels.shape[0] // 3]
        return float((upper[..., 2] - upper[..., 0]).mean())

    tall = np.mean([blue_minus_red_above(picture) for picture in plants(20, height_m=15.0)])
    low = np.mean([blue_minus_red_above(picture) for picture in plants(20, height_m=0.05)])
    assert tall > low + 25


def test_useless_photos_are_valid_jpegs() -> None:
    for seed in range(25):
        image = decode(useless(seed, 96))
        assert image.format == "JPEG"
        assert min(image.size) == 96


def test_corrupt_photos_never_decode_and_break_in_several_ways() -> None:
    data = render(PLANT, 128)
    broken = [corrupt(data, seed) for seed in range(60)]
    for piece in broken:
        with pytest.raises(OSError):
            decode(piece)
    assert b"" in broken
    assert any(piece.startswith(b"<!DOCTYPE html>") for piece in broken)
    assert any(piece and data.startswith(piece) for piece in broken)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_rotated_photo_is_restored_by_its_exif_orientation(orientation: int) -> None:
    data = render(PLANT, 160)
    turned = rotated(data, orientation)
    upright, stored = decode(data), decode(turned)
    restored = ImageOps.exif_transpose(stored)
    assert stored.getexif()[0x0112] == orientation
    assert restored.size == upright.size
    difference = np.asarray(restored, dtype=float) - np.asarray(upright, dtype=float)
    assert np.abs(difference).mean() < 4
    assert rotated(data, orientation) == turned


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="orientation of 3 or 6, found 1"):
        rotated(b"", 1)
    with pytest.raises(InputError, match="fern"):
        replace(PLANT, habit="fern")
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="sla"):
            replace(PLANT, sla=value)
