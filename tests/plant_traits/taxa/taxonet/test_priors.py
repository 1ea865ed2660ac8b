"""Effective numbers, priors and base margins: the pinned vector, limits, bad input."""

import numpy as np
import pytest

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.priors import base_margins, class_counts, effective_numbers, effective_priors

COUNTS = (1000, 100, 10, 1)


def test_the_pinned_vector() -> None:
    priors = effective_priors(COUNTS, 0.9)
    np.testing.assert_allclose(priors, [0.63177761, 0.22673228, 0.12286681, 0.01862331], atol=5e-9)
    np.testing.assert_allclose(base_margins(priors, 0.15), [0, 0.04361797, 0.06969548, 0.15], atol=5e-9)


def test_effective_numbers_are_those_of_a_geometric_series() -> None:
    expected = [sum(0.9**k for k in range(n)) for n in (1, 2, 10, 100)]
    np.testing.assert_allclose(effective_numbers([1, 2, 10, 100], 0.9), expected, rtol=1e-12)
    assert effective_numbers([1, 50], 0.0).tolist() == [1.0, 1.0]


def test_equal_classes_have_no_margin() -> None:
    assert base_margins(effective_priors([7, 7, 7]), 0.15).tolist() == [0.0, 0.0, 0.0]


def test_counts() -> None:
    assert class_counts([0, 2, 1, 2], 3).tolist() == [1, 1, 2]
    for labels, told in (
        ([0, 0, 2], "1 classes without"),
        ([0, 3, 1, 2], "0 to 2"),
        ([-1, 0, 1], "0 to 2"),
        ([0.5], "0 to 2"),
    ):
        with pytest.raises(ModelError, match=told):
            class_counts(labels, 3)


@pytest.mark.parametrize(
    ("counts", "beta"), [((3, 0), 0.9), ((), 0.9), ((3, 1), 1.0), ((3, 1), -0.1), ((3, np.nan), 0.9)]
)
def test_bad_counts_are_refused(counts: tuple[float, ...], beta: float) -> None:
    with pytest.raises(ModelError, match="effective numbers"):
        effective_priors(counts, beta)
