"""Conformal intervals of tables of predictions: the right quantile per row, and equal to those of fresh predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import ModelError
from plant_traits.model.calibration import Calibration
from plant_traits.model.intervals import interval_ends, reach

GROUPS = ("all", "tree", "tree/arid")
LEVELS = (0.5, 0.9)


@pytest.fixture
def calibration() -> Calibration:
    """Quantiles that tell where they come from: 100 · modalities + 10 · group + trait, and a tenth of it at 50 %."""
    kind, group, trait = np.meshgrid(np.arange(3), np.arange(3), np.arange(2), indexing="ij")
    ninety = 100.0 * kind + 10.0 * group + trait
    quantile = np.stack([ninety / 10, ninety], axis=-1)
    quantile[2, 0, 1, 1] = np.inf
    shape = (3, 3, 2)
    return Calibration(("height", "sla"), GROUPS, LEVELS, np.full(shape, 20), np.ones(shape), quantile)


def table(modalities: list[str], traits: list[str], mean: list[float], variance: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trait": traits,
            "mean": np.array(mean, dtype=np.float32),
            "variance_aleatoric": np.array(variance, dtype=np.float32) * 0.75,
            "variance_epistemic": np.array(variance, dtype=np.float32) * 0.25,
            "modalities": modalities,
        }
    )


def test_reach_is_looked_up_by_modalities_group_and_trait(calibration: Calibration) -> None:
    modalities = ["image+geospatial", "image", "geospatial", "none", "image"]
    groups = ["tree/arid", "tree/polar", "herb/arid", "tree", "all"]  # the second and third fall back to a parent
    found = reach(calibration, modalities, groups, 0.9)
    assert found.tolist()[:3] == [[20.0, 21.0], [110.0, 111.0], [200.0, np.inf]]
    assert np.isnan(found[3]).all()
    assert found[4].tolist() == [100.0, 101.0]
    assert reach(calibration, ["image"], ["tree"], 0.5).tolist() == [[11.0, 11.1]]


def test_the_ends_lie_reach_times_sd_from_the_mean(calibration: Calibration) -> None:
    rows = table(
        ["image+geospatial", "image+geospatial", "geospatial", "none"],
        ["height", "sla", "sla", "height"],
        [1.0, -2.0, 0.5, np.nan],
        [0.25, 4.0, 1.0, np.nan],
    )
    lower, upper = interval_ends(calibration, rows, ["tree", "tree/arid", "all", "all"], 0.9)
    assert lower.tolist()[:3] == [1.0 - 10 * 0.5, -2.0 - 21 * 2.0, -np.inf]
    assert upper.tolist()[:3] == [1.0 + 10 * 0.5, -2.0 + 21 * 2.0, np.inf]
    assert np.isnan([lower[3], upper[3]]).all()


def test_no_rows_give_no_intervals(calibration: Calibration) -> None:
    lower, upper = interval_ends(calibration, table([], [], [], []), [], 0.9)
    assert lower.shape == upper.shape == (0,)


@pytest.mark.parametrize(
    ("modalities", "trait", "level", "words"),
    [
        ("image", "wood_density", 0.9, "wood_density"),
        ("photo", "height", 0.9, "photo"),
        ("image", "height", 0.8, "calibrated levels"),
    ],
)
def test_what_is_not_calibrated_is_refused(
    calibration: Calibration, modalities: str, trait: str, level: float, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        interval_ends(calibration, table([modalities], [trait], [1.0], [1.0]), ["all"], level)
