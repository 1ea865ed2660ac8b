"""The rule of the gate, case by case, and the order in which the cases apply."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import ModelError, TableError
from plant_traits.name_schemas import NAME_DECISION
from plant_traits.taxa.gate.rule import decide_names
from plant_traits.taxa.gate.settings import GateSettings

NAN = float("nan")
DEFAULT = GateSettings(alpha=0.05, strong_alpha=0.005, open_set_alpha=0.05, plant_alpha=0.001)

# p-values of the stated name at species, genus and growth form, of open-set and plant scores
FITS = (0.6, 0.5, 0.7, 0.5, 0.5)
DOUBTED = (0.03, 0.02, 0.01, 0.5, 0.5)
REFUTED = (0.001, 0.001, 0.001, 0.5, 0.5)
GENUS_FITS = (0.01, 0.2, 0.7, 0.5, 0.5)
FORM_FITS = (0.01, 0.02, 0.7, 0.5, 0.5)
NO_PLANT = (0.6, 0.5, 0.7, 0.5, 0.0005)
NO_PHOTO = (NAN,) * 5
UNKNOWN_FITS = (NAN, 0.3, 0.4, 0.5, 0.5)
UNKNOWN_STRANGE = (NAN, 0.3, 0.4, 0.01, 0.5)
UNKNOWN_OTHER_GENUS = (NAN, 0.01, 0.4, 0.5, 0.5)
UNKNOWN_OTHER_FORM = (NAN, NAN, 0.01, 0.5, 0.5)
UNKNOWN_NO_TAXA = (NAN, NAN, NAN, 0.5, 0.5)

NONE = (None, False)
SAME, OTHER, NOT_VALID = ("Rosa alba", True), ("Acer rubrum", True), ("Acer rubrum", False)
GENUS_ALONE = ("Acer", True)


def observation(
    p: tuple[float, ...], votes: tuple[str | None, bool] = NONE, voted: tuple[float, float, float] = (NAN, NAN, NAN)
) -> pd.DataFrame:
    species, genus, form, open_set, plant = p
    row = {
        "observation_id": "o1",
        "species": "Rosa alba",
        "genus": "Rosa",
        "growth_form": "shrub",
        "vote_name": votes[0],
        "vote_valid": votes[1],
        "vote_confidence": 3.5 if votes[0] else NAN,
        "p_species": species,
        "p_genus": genus,
        "p_growth_form": form,
        "p_open_set": open_set,
        "p_plant": plant,
        "open_set": -2.0,
        "best": "Rosa canina" if np.isfinite(plant) else None,
        "voted_p_species": voted[0],
        "voted_p_genus": voted[1],
        "voted_p_growth_form": voted[2],
    }
    texts = ["species", "genus", "growth_form", "vote_name", "best"]
    return pd.DataFrame([row]).astype(dict.fromkeys(texts, "str"))


def decided(rows: pd.DataFrame, settings: GateSettings = DEFAULT) -> tuple[object, ...]:
    row = decide_names(rows, settings).iloc[0]
    return tuple(None if pd.isna(row[name]) else row[name] for name in ("rank", "name", "reason", "suggested"))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (observation(FITS), ("species", "Rosa alba", "photo", None)),
        (observation(FITS, SAME), ("species", "Rosa alba", "votes_and_photo", None)),
        (observation(DOUBTED, SAME), ("species", "Rosa alba", "votes", None)),
        (observation(NO_PHOTO, SAME), ("species", "Rosa alba", "votes", None)),
        (observation(NO_PLANT, SAME), ("species", "Rosa alba", "votes_and_photo", None)),
        (observation(REFUTED, SAME), ("none", None, "contradicted_by_photo", "Rosa canina")),
        (observation(FITS, OTHER), ("species", "Acer rubrum", "votes", "Acer rubrum")),
        (observation(FITS, OTHER, (0.3, 0.3, 0.3)), ("species", "Acer rubrum", "votes_and_photo", "Acer rubrum")),
        (observation(FITS, OTHER, (0.001, 0.3, 0.3)), ("none", None, "contradicted_by_votes", "Acer rubrum")),
        (observation(FITS, OTHER, (NAN, 0.001, 0.3)), ("none", None, "contradicted_by_votes", "Acer rubrum")),
        (observation(FITS, NOT_VALID), ("species", "Rosa alba", "photo", None)),
        (observation(FITS, GENUS_ALONE), ("species", "Rosa alba", "photo", None)),
        (observation(NO_PLANT), ("none", None, "not_a_plant", "Rosa canina")),
        (observation(GENUS_FITS), ("genus", "Rosa", "coarser", "Rosa canina")),
        (observation(FORM_FITS), ("growth_form", "shrub", "coarser", "Rosa canina")),
        (observation(DOUBTED), ("none", None, "contradicted_by_photo", "Rosa canina")),
        (observation(NO_PHOTO), ("species", "Rosa alba", "no_evidence", None)),
        (observation(NO_PHOTO, NOT_VALID), ("species", "Rosa alba", "no_evidence", None)),
        (observation(UNKNOWN_FITS), ("species", "Rosa alba", "no_evidence", None)),
        (observation(UNKNOWN_STRANGE), ("none", None, "unknown_to_model", "Rosa canina")),
        (observation(UNKNOWN_STRANGE, SAME), ("species", "Rosa alba", "votes", None)),
        (observation(UNKNOWN_OTHER_GENUS), ("growth_form", "shrub", "coarser", "Rosa canina")),
        (observation(UNKNOWN_OTHER_FORM), ("none", None, "contradicted_by_photo", "Rosa canina")),
        (observation(UNKNOWN_NO_TAXA), ("species", "Rosa alba", "no_evidence", None)),
    ],
)
def test_a_case(rows: pd.DataFrame, expected: tuple[object, ...]) -> None:
    assert decided(rows) == expected


def test_settings_decide_where_they_are_asked() -> None:
    aside = GateSettings(accept_voted=False)
    assert decided(observation(FITS, OTHER), aside) == ("none", None, "contradicted_by_votes", "Acer rubrum")
    kept = GateSettings(unknown="species")
    assert decided(observation(UNKNOWN_STRANGE), kept)[:3] == ("species", "Rosa alba", "unknown_to_model")
    strict = GateSettings(alpha=0.7, strong_alpha=0.005)
    assert decided(observation(FITS), strict)[0] == "growth_form"


def test_the_table_is_the_declared_one_and_keeps_the_order() -> None:
    rows = pd.concat([observation(FITS), observation(GENUS_FITS)], ignore_index=True)
    rows["observation_id"] = ["b", "a"]
    out = decide_names(rows, DEFAULT)
    assert list(out.columns) == NAME_DECISION.names
    assert out["observation_id"].tolist() == ["b", "a"]
    assert out["p_genus"].tolist() == [0.5, 0.2]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(TableError, match=r"\['p_plant'\] are missing"):
        decide_names(observation(FITS).drop(columns="p_plant"), DEFAULT)


@pytest.mark.parametrize("wrong", [{"alpha": 1.0}, {"plant_alpha": -0.1}, {"alpha": 0.01, "strong_alpha": 0.02}])
def test_shares_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="shares from 0 to below 1"):
        GateSettings(**wrong)
