"""Accepted names: what the taxonomy answered decides, and where it did not, the name itself."""

from __future__ import annotations

import pandas as pd
import pytest

from plant_traits.errors import TableError
from plant_traits.taxa.accepted_names import accepted_names, names_to_ask

ANSWERS = pd.DataFrame(
    [
        ("Quercus pedunculata", "EXACT", "Quercus robur", "Quercus", "Fagaceae", False),
        ("Isoetes lacustris", "VARIANT", "Isoetes lacustris", "Isoetes", "Isoetaceae", False),
        ("Calopteryx splendens", "HIGHERRANK", None, "Thibaudia", "Ericaceae", False),
        ("Quercus fakeus", "HIGHERRANK", None, "Quercus", "Fagaceae", False),
        ("Oenanthe alba", "EXACT", None, "Oenanthe", "Apiaceae", True),
        ("Nonsense name", "NONE", None, None, None, False),
        ("Ficus carica L.", "EXACT", "Ficus carica", "Ficus", "Moraceae", False),
        ("Ficus carica Forssk.", "EXACT", "Ficus palmata", "Ficus", "Moraceae", False),
        ("Rosa × alba", "EXACT", "Rosa × alba", "Rosa", "Rosaceae", False),
    ],
    columns=["name", "match_type", "accepted_species", "genus", "family", "homonyms"],
)


@pytest.mark.parametrize(
    ("name", "species", "genus", "family", "match_type"),
    [
        ("Quercus pedunculata Ehrh.", "Quercus robur", "Quercus", "Fagaceae", "EXACT"),
        ("Isoëtes lacustris L.", "Isoetes lacustris", "Isoetes", "Isoetaceae", "VARIANT"),
        # Only the genus was found, and another one: neither species nor family is believed.
        ("Calopteryx splendens", "Calopteryx splendens", "Calopteryx", None, "HIGHERRANK"),
        ("Quercus fakeus", "Quercus fakeus", "Quercus", "Fagaceae", "HIGHERRANK"),
        ("Oenanthe alba", "Oenanthe alba", "Oenanthe", None, "HOMONYMS"),
        ("Nonsense name", "Nonsense name", "Nonsense", None, "NONE"),
        ("Poa annua L.", "Poa annua", "Poa", None, "NOT_ASKED"),
        ("Quercus sp.", None, "Quercus", None, "UNNAMED"),
        # Authors tell homonyms apart; without them the contradicting answers decide nothing.
        ("Ficus carica L.", "Ficus carica", "Ficus", "Moraceae", "EXACT"),
        ("Ficus carica Forssk.", "Ficus palmata", "Ficus", "Moraceae", "EXACT"),
        ("Ficus carica", "Ficus carica", "Ficus", None, "NOT_ASKED"),
        ("Rosa alba", "Rosa alba", "Rosa", "Rosaceae", "EXACT"),
    ],
)
def test_one_name(name: str, species: str | None, genus: str, family: str | None, match_type: str) -> None:
    named = accepted_names(pd.Series([name]), ANSWERS)
    found = named.taxa.iloc[0].astype(object)
    assert found.where(found.notna(), None).to_dict() == {
        "species": species, "genus": genus, "family": family, "match_type": match_type,
    }  # fmt: skip
    assert named.counts == {match_type: 1}


def test_rows_keep_their_index_and_names_count_once() -> None:
    names = pd.Series(["Poa annua", None, "Quercus pedunculata", "Poa annua"], index=[7, 3, 5, 1])
    named = accepted_names(names, ANSWERS)
    assert named.taxa.index.tolist() == [7, 3, 5, 1]
    assert named.taxa["species"].fillna("").tolist() == ["Poa annua", "", "Quercus robur", "Poa annua"]
    assert named.counts == {"EXACT": 1, "NOT_ASKED": 1}
    assert len(accepted_names(pd.Series([], dtype="str"), ANSWERS).taxa) == 0


def test_without_answers_names_keep_their_binomial() -> None:
    named = accepted_names(pd.Series(["Quercus robur L."]), ANSWERS.iloc[:0])
    assert named.taxa["species"].tolist() == ["Quercus robur"] and named.counts == {"NOT_ASKED": 1}


def test_missing_column_is_told() -> None:
    with pytest.raises(TableError, match="match_type"):
        accepted_names(pd.Series(["Poa annua"]), ANSWERS.drop(columns="match_type"))


def test_names_to_ask_are_distinct_species() -> None:
    asked = names_to_ask([pd.Series(["Poa annua L.", "Poa annua", None]), pd.Series(["Isoëtes lacustris", "Poa sp."])])
    assert asked["name"].tolist() == ["Isoetes lacustris", "Poa annua"]
    assert names_to_ask([]).empty
