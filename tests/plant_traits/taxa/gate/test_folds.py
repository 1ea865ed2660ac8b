"""Folds of observers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from plant_traits.taxa.gate.folds import folds_of, observers_of


def test_the_observer_counts_else_the_place() -> None:
    rows = pd.DataFrame(
        {
            "observer": ["ada", None, None, None, "ada"],
            "latitude": [1, 50.2, 50.8, 51.2, 40],
            "longitude": [1, 7.1, 7.9, 7.1, 3],
        }
    )
    groups = observers_of(rows)
    assert groups[0] == groups[4] == "ada"
    assert groups[1] == groups[2] != groups[3]


def test_a_fold_depends_on_the_name_alone() -> None:
    names = pd.Series([f"observer {k}" for k in range(2000)])
    fold = folds_of(names, 5)
    order = np.random.default_rng(1).permutation(len(names))
    np.testing.assert_array_equal(folds_of(names.iloc[order], 5), fold[order])
    np.testing.assert_array_equal(folds_of(names[:10], 5), fold[:10])
    # 400 each are expected, with a standard deviation of 18.
    assert np.abs(np.bincount(fold) - 400).max() < 90
    assert folds_of(pd.Series([], dtype="str"), 5).size == 0
