"""Batches with tail photos, and the photos with the smallest norms."""

import numpy as np
import pytest
import torch

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.selection import TailSampling, lowest_norms


def labels_with_tail() -> tuple[np.ndarray, np.ndarray]:
    """Return 1,000 photos: 990 of species 0, six of species 1 (positions 990 to 995) and four of species 2."""
    counts = np.array([990, 6, 4])
    return np.repeat(np.arange(3), counts), counts


def test_every_photo_comes_once_and_tail_photos_come_on_top() -> None:
    sampling = TailSampling(batch=32, extra=8, probability=0.1)
    enlarged = batches = 0
    rng = np.random.default_rng(0)
    for _ in range(40):
        parts = sampling.batches(*labels_with_tail(), rng)
        assert np.array_equal(
            np.sort(np.concatenate([part[:32] for part in parts[:-1]] + [parts[-1][:8]])), np.arange(1000)
        )
        larger = [part for part in parts[:-1] if len(part) > 32]
        assert all(len(part) == 40 and part[32:].min() >= 990 for part in larger)
        enlarged, batches = enlarged + len(larger), batches + len(parts) - 1
    assert abs(enlarged / batches - 0.1) < 3 * np.sqrt(0.09 / batches)


@pytest.mark.parametrize(("evenly", "expected"), [(False, 0.4), (True, 0.5)])
def test_photos_or_species_are_drawn_alike(evenly: bool, expected: float) -> None:
    labels, counts = labels_with_tail()
    sampling = TailSampling(batch=100, extra=400, probability=1.0, evenly=evenly)
    drawn = np.concatenate([part[100:] for part in sampling.batches(labels, counts, np.random.default_rng(1))])
    assert drawn.size == 4000 and set(drawn) == set(range(990, 1000))
    assert abs((labels[drawn] == 2).mean() - expected) < 3 * np.sqrt(0.25 / 4000)


def test_what_is_of_the_tail_can_be_chosen() -> None:
    labels, counts = labels_with_tail()
    rare = TailSampling(probability=1.0, below=5).batches(labels, counts, np.random.default_rng(4))
    assert all(part[32:].min() >= 996 for part in rare[:-1])


def test_the_order_of_photos_does_not_depend_on_what_is_enlarged() -> None:
    few = np.repeat([0, 1], [99, 1])
    counts = np.array([99, 1])
    alone = TailSampling(probability=0.0).batches(few, counts, np.random.default_rng(4))
    often = TailSampling(probability=1.0).batches(few, counts, np.random.default_rng(4))
    for one, other in zip(alone, often, strict=True):
        assert np.array_equal(one, other[: len(one)]) and other[len(one) :].tolist() == [99] * 8
    none = TailSampling(probability=1.0, below=0).batches(few, counts, np.random.default_rng(4))
    assert [len(part) for part in none] == [32, 32, 32, 4]


def test_the_smallest_norms_stay_in_their_order() -> None:
    embeddings = torch.tensor([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0], [0.0, -2.0], [9.0, 9.0]])
    assert lowest_norms(embeddings, 2).tolist() == [1, 2]  # of equal norms the first
    assert lowest_norms(embeddings, 4).tolist() == [0, 1, 2, 3]
    assert lowest_norms(embeddings, 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("change", [{"batch": 0}, {"extra": -1}, {"probability": 1.5}, {"below": -1}])
def test_bad_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="tail sampling"):
        TailSampling(**change)  # type: ignore[arg-type]
