"""Batches with tail photos, and the photos with the smallest norms."""

import numpy as np
import pytest
import torch

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.selection import TailSampling, lowest_norms


def test_every_photo_comes_once_and_tail_photos_come_on_top() -> None:
    tail = np.array([1, 5, 9])
    sampling = TailSampling(batch=32, extra=8, probability=0.1)
    enlarged = batches = 0
    rng = np.random.default_rng(0)
    for _ in range(40):
        parts = sampling.batches(1000, tail, rng)
        assert np.array_equal(
            np.sort(np.concatenate([part[:32] for part in parts[:-1]] + [parts[-1][:8]])), np.arange(1000)
        )
        larger = [part for part in parts[:-1] if len(part) > 32]
        assert all(len(part) == 40 and set(part[32:]) <= {1, 5, 9} for part in larger)
        enlarged, batches = enlarged + len(larger), batches + len(parts) - 1
    assert abs(enlarged / batches - 0.1) < 3 * np.sqrt(0.09 / batches)


def test_the_order_of_photos_does_not_depend_on_what_is_enlarged() -> None:
    alone = TailSampling(probability=0.0).batches(100, np.array([3]), np.random.default_rng(4))
    often = TailSampling(probability=1.0).batches(100, np.array([3]), np.random.default_rng(4))
    for one, other in zip(alone, often, strict=True):
        assert np.array_equal(one, other[: len(one)]) and other[len(one) :].tolist() == [3] * 8
    none = TailSampling(probability=1.0).batches(100, np.empty(0, dtype=np.int64), np.random.default_rng(4))
    assert [len(part) for part in none] == [32, 32, 32, 4]


def test_the_smallest_norms_stay_in_their_order() -> None:
    embeddings = torch.tensor([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0], [0.0, -2.0], [9.0, 9.0]])
    assert lowest_norms(embeddings, 2).tolist() == [1, 2]  # of equal norms the first
    assert lowest_norms(embeddings, 4).tolist() == [0, 1, 2, 3]
    assert lowest_norms(embeddings, 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("change", [{"batch": 0}, {"extra": -1}, {"probability": 1.5}])
def test_bad_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="tail sampling"):
        TailSampling(**change)  # type: ignore[arg-type]
