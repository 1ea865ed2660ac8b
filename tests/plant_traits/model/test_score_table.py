"""Metrics as a tidy table: one row per split, kind of value, modalities, growth form and trait."""

import pandas as pd

from plant_traits.model.score_table import COLUMNS, score_table

SCORE = {
    "n": 40, "pearson_r": 0.5, "r2": 0.2, "rmse": 1.5, "nmae": 0.1, "gaussian_nll": 1.25, "crps": 0.75,
    "coverage": {"level": [0.5, 0.8, 0.9, 0.95], "conformal": [0.51, 0.79, 0.9, 0.96], "as_predicted": [0, 0, 0, 0]},
}  # fmt: skip
METRICS = {
    "held_out": {"image": {"height": {**SCORE, "by_growth_form": {"tree": {"n": 4}}}}},
    "splits": {"species": {"geospatial": {"sla": SCORE}}},
    "truth": {"image": {"height": {**SCORE, "within_species": {"pearson_r": 0.3, "n": 20, "groups": 5}}}},
    "within_species": {"image": {"height": {"pearson_r": 0.25, "n": 12, "groups": 4}}},
    "counts": {"records": 9},
}


def test_every_score_is_a_row() -> None:
    table = score_table("full", METRICS)
    assert tuple(table.columns) == COLUMNS
    keys = ["split", "compared_with", "modalities", "growth_form", "trait"]
    assert table[keys].to_numpy().tolist() == [
        ["regions", "labels", "image", "all", "height"],
        ["regions", "labels", "image", "tree", "height"],
        ["regions", "truth", "image", "all", "height"],
        ["species", "labels", "geospatial", "all", "sla"],
    ]
    first, tree, truth, species = (row for _, row in table.iterrows())
    assert (first["coverage_90"], first["crps"], first["within_species_r"], first["within_species_n"]) == (
        0.9, 0.75, 0.25, 12)  # fmt: skip
    assert tree["n"] == 4
    assert pd.isna(tree["rmse"])
    assert truth["within_species_r"] == 0.3
    assert pd.isna(species["within_species_n"])


def test_no_scores_no_rows() -> None:
    assert score_table("full", {}).empty


def test_labels_and_true_values_of_every_split_are_told_apart() -> None:
    scores = {name: {"image": {"height": {**SCORE, "n": n}}} for name, n in (("species", 11), ("photos", 12))}
    true = {name: {"image": {"height": {**SCORE, "n": n}}} for name, n in (("species", 21), ("photos", 22))}
    table = score_table("full", {"splits": scores, "truth_splits": true})
    found = {(row["compared_with"], row["split"]): row["n"] for _, row in table.iterrows()}
    assert found == {
        ("labels", "species"): 11, ("labels", "photos"): 12, ("truth", "species"): 21, ("truth", "photos"): 22,
    }  # fmt: skip
