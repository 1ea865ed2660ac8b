"""Scores against single plants: which rows are compared, and true values that cannot be used."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from data_catalog import Trait
from plant_traits.errors import TableError
from plant_traits.model.calibration import Calibration, fit_calibration
from plant_traits.model.held_out import HeldOut
from plant_traits.model.trained_model import TrainedModel
from plant_traits.model.training import Training
from plant_traits.stages.plant_scores import read_true_values, score_plants

TRAITS = (Trait(id="height", name="Height", definition="d", unit="m", valid_range=(0.01, 100.0)),)


@dataclass(frozen=True)
class Scored:
    """The parts of a model that its scores are made of."""

    traits: tuple[Trait, ...]
    calibration: Calibration


def trained(rows: np.ndarray[Any, Any], mean: np.ndarray[Any, Any], split: str = "regions") -> Training:
    n = len(rows)
    held = HeldOut(
        rows=rows,
        block=np.arange(n),
        groups=("tree",) * n,
        present=np.ones((3, n), dtype=bool),
        mean=np.tile(mean[None, :, None], (3, 1, 1)),
        variance=np.full((3, n, 1), 1.0),
        centre=np.full((n, 1), 99.0),
        drawn=mean[:, None] + np.where(np.arange(n) % 2, 1.0, -1.0)[:, None],
        measured=np.full((n, 1), np.nan),
    )
    calibration = fit_calibration(held.mean, held.variance, held.drawn, held.present, held.groups, ["height"])
    model = cast(TrainedModel, Scored(TRAITS, calibration))
    return Training(model, np.array([split]), {split: held}, pd.DataFrame())


def records(n: int) -> pd.DataFrame:
    photo = pd.Series([f"p{i}" for i in range(n)], dtype="str")
    return pd.DataFrame({"species": ["Stated name"] * n, "photo_id": photo.where(photo != "p21")})


def write_truth(path: Path, n: int) -> Path:
    """The truth of photo p<i> is i; two plants to a true species; p20 is not told, p22 told twice."""
    table = pd.DataFrame(
        {
            "photo_id": [f"p{i}" for i in range(n)],
            "true_species": [f"Rosa {i // 2}" for i in range(n)],
            "true_height": np.arange(n, dtype=float),
        }
    )
    table = pd.concat([table[table["photo_id"] != "p20"], table[table["photo_id"] == "p22"].assign(true_height=-5.0)])
    table.to_parquet(path)
    return path


def test_held_out_rows_are_compared_with_the_truth_of_their_own_photos(tmp_path: Path) -> None:
    rows = np.arange(39, 9, -1)
    found = score_plants(trained(rows, rows + 0.25), records(40), write_truth(tmp_path / "t.parquet", 40))
    score = found["truth"]["image"]["height"]
    assert score["n"] == 28  # without p20, which is not told, and the row without a photo
    assert score["rmse"] == pytest.approx(0.25)
    assert score["pearson_r"] == pytest.approx(1.0)
    assert score["within_species"] == {"pearson_r": pytest.approx(1.0), "n": 28, "groups": 14}
    assert score["coverage"]["conformal"] == [1.0] * 4  # calibrated on labels a whole unit off
    assert found["within_species"] == {}


def test_other_splits_are_scored_apart(tmp_path: Path) -> None:
    rows = np.arange(30)
    found = score_plants(trained(rows, rows + 0.5, "species"), records(40), write_truth(tmp_path / "t.parquet", 40))
    assert found["truth"] == {}
    assert found["truth_splits"]["species"]["geospatial"]["height"]["rmse"] == pytest.approx(0.5)
    assert "within_species" not in found


def test_without_truth_or_held_out_predictions() -> None:
    rows = np.arange(30)
    assert score_plants(trained(rows, rows + 0.0), records(30), None) == {"within_species": {}}
    nothing = replace(trained(rows, rows + 0.0), held_out={})
    assert score_plants(nothing, records(30), None) == {}


def test_true_values_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        read_true_values(tmp_path / "absent.parquet", TRAITS)
    (tmp_path / "text.parquet").write_text("photo_id")
    with pytest.raises(TableError, match="cannot be read"):
        read_true_values(tmp_path / "text.parquet", TRAITS)
    pd.DataFrame({"photo_id": ["p"], "true_species": ["s"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(TableError, match="missing \\['true_height'\\]"):
        read_true_values(tmp_path / "t.parquet", TRAITS)
