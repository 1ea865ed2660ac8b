"""Votes beside stated names."""

from __future__ import annotations

import pandas as pd

from plant_traits.name_schemas import VOTED_NAME
from plant_traits.taxa.gate.voted import join_votes, with_votes

OBSERVATIONS = pd.DataFrame(
    {
        "observation_id": ["agreed", "renamed", "open", "lonely", "silent", "genus", "newcomers"],
        "species": "Rosa alba",
        "genus": "Rosa",
        "family": "Rosaceae",
        "growth_form": "shrub",
    }
)


def voted() -> pd.DataFrame:
    rows = [
        ("agreed", "Rosa alba", True, 3.0, 1.0, 3, None),
        ("renamed", "Acer rubrum", True, 4.0, 0.8, 4, None),
        ("open", "Acer rubrum", False, 1.0, 0.5, 2, "accuracy"),
        ("lonely", "Rosa alba", False, 0.7, 1.0, 1, "confidence"),
        ("genus", "Rosa", True, 3.0, 1.0, 3, None),
        ("newcomers", "Rosa alba", False, 1.48, 1.0, 2, "confidence"),
    ]
    return pd.DataFrame(rows, columns=VOTED_NAME.names)


def test_votes_are_joined_by_observation() -> None:
    joined = join_votes(OBSERVATIONS, voted())
    assert joined["vote_valid"].tolist() == [True, True, False, False, False, True, False]
    assert joined["n_votes"].tolist() == [3, 4, 2, 1, 0, 3, 2]
    assert joined["vote_name"].isna().tolist() == [False, False, False, False, True, False, False]
    nobody = join_votes(OBSERVATIONS, None)
    assert not nobody["vote_valid"].any()
    assert nobody["vote_name"].isna().all()


def test_names_are_learned_from_what_votes_confirm_else_from_what_is_stated() -> None:
    labels = with_votes(OBSERVATIONS, voted())
    assert [None if pd.isna(name) else name for name in labels["species"]] == [
        "Rosa alba",
        "Acer rubrum",
        None,
        "Rosa alba",
        "Rosa alba",
        None,
        "Rosa alba",
    ]
    assert labels["genus"].tolist()[1] == "Acer"
    assert pd.isna(labels["family"][1])
    assert with_votes(OBSERVATIONS, None) is OBSERVATIONS
