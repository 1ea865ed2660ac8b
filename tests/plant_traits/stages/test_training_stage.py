"""The training stage: what it writes, what it leaves out of each fit, and which scores it adds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import ModelError, TableError
from plant_traits.model.checkpoint import load_model
from plant_traits.model.ensemble import Fitting
from plant_traits.model.held_out_places import read_held_out_places
from plant_traits.model.training import split_records
from plant_traits.model.training_places import read_training_places
from plant_traits.stages.training import said, train_model
from plant_traits.stages.training_table import read_training_table


def trained_in(folder: Path, asked: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    folder.mkdir()
    seen: list[tuple[int, int, str]] = []
    arguments = {"cleaning": None, "progress": lambda *told: seen.append(told)} | asked | more
    return {**train_model(folder, **arguments), "seen": seen}


def split_of(asked: dict[str, Any]) -> np.ndarray:
    training = read_training_table(asked["table"], asked["traits"]).training
    return split_records(training, Fitting(asked["traits"], asked["settings"], "e1"))


def change_labels(table: Path, rows: np.ndarray, by: float) -> None:
    content = pd.read_parquet(table / "rows.parquet")
    for part in ("median", "low", "high"):
        content.loc[rows, f"label_height_{part}"] += by
    content.to_parquet(table / "rows.parquet")


def cleaning_in(folder: Path, rows: list[tuple[str, int]]) -> Path:
    folder.mkdir()
    pd.DataFrame(rows, columns=["fit", "row"]).to_csv(folder / "dropped.csv", index=False)
    return folder


def test_a_model_its_curves_and_the_splits_are_written(tmp_path: Path, asked: dict[str, Any]) -> None:
    found = trained_in(tmp_path / "model", asked)
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {
        "weights.safetensors",
        "card.yaml",
        "curves.csv",
        "splits.parquet",
        "training_places.safetensors",
        "held_out_places.parquet",
    }
    model = load_model(tmp_path / "model", ("height", "sla"))
    assert model.model_id == found["model_id"]
    assert model.encoder_identity == "e1"
    assert model.metrics == found["metrics"]
    expected = split_of(asked)
    assert {"regions", "stopping", "species", "photos", "fitting"} <= set(expected)
    splits = pd.read_parquet(tmp_path / "model" / "splits.parquet")
    assert splits["split"].tolist() == expected.tolist()
    assert splits["photo_id"].fillna("-").tolist() == [f"p{k}" for k in range(360)] + ["-"] * 160
    places = read_training_places(tmp_path / "model", model.model_id)
    placed = (expected == "fitting") & (np.arange(520) != 3)  # record 3 has no place
    assert len(places.block) == placed.sum()
    told = read_held_out_places(tmp_path / "model", model.model_id)
    assert told is not None
    assert set(told["trait"]) <= {"height", "sla"}
    records = told.groupby("trait")["n"].sum()
    assert (records > 0).all()
    assert (records <= (expected == "regions").sum()).all()
    curves = pd.read_csv(tmp_path / "model" / "curves.csv")
    assert curves.groupby(["member", "round", "trait"]).size().to_dict() == {
        (member, "first", trait): 2 for member in (0, 1) for trait in ("height", "sla")
    }
    assert found["in"] == {"training rows": 520}
    assert found["out"] == {"rows fitted": int((expected == "fitting").sum())}
    assert found["lost"] == {}
    assert [told[:2] for told in found["seen"]] == [(done, 4) for done in range(1, 5)]
    assert set(model.metrics["splits"]) == {"species", "photos"}
    assert "truth" not in model.metrics


def test_the_card_names_its_data_by_hash_and_the_licences(tmp_path: Path, asked: dict[str, Any]) -> None:
    licences = {"encoders": {"efficientnet-lite0": "Apache-2.0"}, "sources": {"try": "CC-BY-4.0"}}
    trained_in(tmp_path / "model", asked, licences=licences)
    made_of = load_model(tmp_path / "model").metrics["made_of"]
    assert made_of["licences"] == licences
    expected = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in asked["table"].iterdir()}
    assert made_of["training_table"] == expected
    assert "rows.parquet" in expected


def test_what_was_dropped_is_not_fitted_and_each_fit_has_its_own_list(tmp_path: Path, asked: dict[str, Any]) -> None:
    asked["settings"] = asked["settings"].model_copy(update={"refit": True, "local_labels": False})
    split = split_of(asked)
    fitted, held = np.flatnonzero(split == "fitting")[:9], np.flatnonzero(split == "regions")[:4]
    of_first = [("first", int(row)) for row in fitted]
    of_refit = [("refit", int(row)) for row in (*fitted, *held)]
    cleaning = cleaning_in(tmp_path / "c", of_first + of_refit)
    plain = trained_in(tmp_path / "plain", asked, cleaning=cleaning)
    assert plain["lost"] == {"row dropped by cleaning rounds": 9}
    assert plain["out"] == {"rows fitted": int((split == "fitting").sum()) - 9}
    places = read_training_places(tmp_path / "plain", plain["model_id"])
    assert len(places.block) == 520 - 1 - len({3, *fitted, *held} - {3})  # record 3 has no place
    kept = trained_in(tmp_path / "kept", asked, cleaning=cleaning_in(tmp_path / "d", of_first))
    assert kept["model_id"] != plain["model_id"]
    assert kept["metrics"]["held_out"] == plain["metrics"]["held_out"]  # of the first round, which is the same
    change_labels(asked["table"], fitted, 30.0)
    again = trained_in(tmp_path / "again", asked, cleaning=cleaning)
    assert again["model_id"] == plain["model_id"]  # a dropped label bears on nothing
    spoilt = trained_in(tmp_path / "spoilt", asked, cleaning=tmp_path / "d")
    assert spoilt["model_id"] != kept["model_id"]  # it was dropped from the first fit alone
    assert spoilt["metrics"]["held_out"] == kept["metrics"]["held_out"]


def test_true_values_score_and_bear_on_nothing_else(tmp_path: Path, asked: dict[str, Any], truth: Path) -> None:
    plain = trained_in(tmp_path / "plain", asked)
    scored = trained_in(tmp_path / "scored", asked, truth=truth)
    assert scored["model_id"] == plain["model_id"]
    ours = scored["metrics"]["truth"]["image+geospatial"]
    labels = scored["metrics"]["held_out"]["image+geospatial"]
    assert ours["height"]["rmse"] == pytest.approx(10.0, abs=3.0)  # true values are 10 and 20 more than the labels
    assert ours["sla"]["rmse"] == pytest.approx(20.0, abs=3.0)
    assert labels["height"]["rmse"] < 5
    assert set(scored["metrics"]["truth_splits"]) == {"species", "photos"}
    assert load_model(tmp_path / "scored").metrics == scored["metrics"]


def test_it_resumes_to_the_same_model(tmp_path: Path, asked: dict[str, Any]) -> None:
    first = trained_in(tmp_path / "first", asked, resume=tmp_path / "resume")
    second = trained_in(tmp_path / "second", asked, resume=tmp_path / "resume")
    assert second["model_id"] == first["model_id"] == trained_in(tmp_path / "third", asked)["model_id"]
    assert len(second["seen"]) <= len(first["seen"])


def test_label_records_are_read_where_asked_for(tmp_path: Path, asked: dict[str, Any]) -> None:
    plain = trained_in(tmp_path / "plain", asked)
    asked["settings"] = asked["settings"].model_copy(update={"labels": "species_records"})
    assert trained_in(tmp_path / "records", asked)["model_id"] != plain["model_id"]


def test_a_list_of_another_table_or_a_damaged_one_is_refused(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(TableError, match="expected rows from 0 to 519, found 520"):
        trained_in(tmp_path / "a", asked, cleaning=cleaning_in(tmp_path / "c", [("first", 520)]))
    (tmp_path / "c" / "dropped.csv").write_text("no,such\n1,2\n")
    with pytest.raises(TableError, match="run the cleaning rounds again"):
        trained_in(tmp_path / "b", asked, cleaning=tmp_path / "c")


def test_an_all_missing_trait_is_refused_by_name(tmp_path: Path, asked: dict[str, Any]) -> None:
    rows = pd.read_parquet(asked["table"] / "rows.parquet")
    rows[["measured_sla", "label_sla_median"]] = np.nan
    rows.to_parquet(asked["table"] / "rows.parquet")
    with pytest.raises(ModelError, match=r"no record to fit has a label of \['sla'\]"):
        trained_in(tmp_path / "model", asked)


def test_a_line_says_how_it_goes() -> None:
    told = said({"loss": 1.25, "held_out_loss": float("nan"), "r_height": 0.5, "r_leaf_n": -0.25})
    assert told == "loss 1.250, held out nan; r height 0.50, leaf_n -0.25"
