"""Altered copies of photos: seeded, of the same size, altered by the severity, every operation in range."""

import numpy as np
import pytest
from PIL import Image

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.augmentation import OPERATIONS, augment


def photo(seed: int = 0, size: tuple[int, int] = (80, 60)) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(60, 190, (15, 20, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others() -> None:
    first, again = (augment(photo(), np.random.default_rng(5)) for _ in range(2))
    assert first.size == (80, 60) and first.mode == "RGB"
    assert np.array_equal(np.asarray(first), np.asarray(again))
    assert difference(first, augment(photo(), np.random.default_rng(6))) > 0


def test_severity_decides_how_far_a_photo_changes() -> None:
    original = photo()
    found = [
        np.mean([difference(original, augment(original, np.random.default_rng(k), severity=s)) for k in range(30)])
        for s in (0.0, 0.3, 1.0)
    ]
    assert found[0] < 0.01 < found[1] < found[2] < 60


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_keeps_the_size_and_does_nothing_without_strength(operation) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    original = photo()
    assert difference(original, operation(original, 0.0, 1.0)) < 0.01
    for sign in (1.0, -1.0):
        altered = operation(original, 1.0, sign)
        assert altered.size == original.size and altered.mode == "RGB"
        assert difference(original, altered) > 0.3


@pytest.mark.parametrize(
    ("mode", "severity", "chains"), [("L", 0.5, 3), ("RGB", 1.5, 3), ("RGB", -0.1, 3), ("RGB", 0.5, 0)]
)
def test_bad_input_is_refused(mode: str, severity: float, chains: int) -> None:
    with pytest.raises(ModelError, match="augmentation"):
        augment(photo().convert(mode), np.random.default_rng(0), severity=severity, chains=chains)
