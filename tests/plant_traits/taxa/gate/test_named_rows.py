"""Accepted names in the live rows of a shard."""

from __future__ import annotations

import pandas as pd
import pytest

from plant_traits.errors import TableError
from plant_traits.name_schemas import NAME_DECISION
from plant_traits.schemas import SHARD_ROW
from plant_traits.taxa.gate.named_rows import name_rows

TAXONOMY = pd.DataFrame(
    {
        "species": ["Acer rubrum", "Rosa canina"],
        "genus": ["Acer", "Rosa"],
        "family": ["Sapindaceae", None],
        "growth_form": ["tree", "shrub"],
    }
).astype("str")


def rows(*observations: str) -> pd.DataFrame:
    table = SHARD_ROW.empty_table().to_pandas().reindex(range(len(observations)))
    table["observation_id"] = list(observations)
    table["photo_id"] = [f"p{k}" for k in range(len(observations))]
    table["species"], table["taxon_key"], table["genus"] = "Rosa alba", "77", "Rosa"
    table["family"], table["growth_form"] = "Rosaceae", "shrub"
    return table


def decisions(**accepted: tuple[str, str | None]) -> pd.DataFrame:
    table = NAME_DECISION.empty_table().to_pandas().reindex(range(len(accepted)))
    table["observation_id"] = list(accepted)
    table["stated"] = "Rosa alba"
    table["rank"], table["name"] = zip(*accepted.values(), strict=True)
    return table


def taxa(row: pd.Series) -> list[object]:
    names = ["species", "taxon_key", "genus", "family", "growth_form"]
    return [None if pd.isna(row[name]) else row[name] for name in names]


def test_names_at_every_rank() -> None:
    given = rows("as_stated", "genus", "form", "aside", "renamed", "near", "new", "genus")
    decided = decisions(
        as_stated=("species", "Rosa alba"),
        genus=("genus", "Rosa"),
        form=("growth_form", "shrub"),
        aside=("none", None),
        renamed=("species", "Acer rubrum"),
        near=("species", "Rosa canina"),
        new=("species", "Quercus robur"),
    )
    out = name_rows(given, decided, TAXONOMY)
    assert out["observation_id"].tolist() == ["as_stated", "genus", "form", "renamed", "near", "new", "genus"]
    assert [taxa(row) for _, row in out.iterrows()] == [
        ["Rosa alba", "77", "Rosa", "Rosaceae", "shrub"],
        ["Rosa sp.", None, "Rosa", "Rosaceae", "shrub"],
        ["shrub sp.", None, None, None, "shrub"],
        ["Acer rubrum", None, "Acer", "Sapindaceae", "tree"],
        ["Rosa canina", None, "Rosa", "Rosaceae", "shrub"],
        ["Quercus robur", None, "Quercus", None, None],
        ["Rosa sp.", None, "Rosa", "Rosaceae", "shrub"],
    ]
    assert out["photo_id"].tolist() == ["p0", "p1", "p2", "p4", "p5", "p6", "p7"]


def test_rows_accepted_as_stated_stay_as_they_are() -> None:
    given = rows("a", "b")
    out = name_rows(given, decisions(a=("species", "Rosa alba"), b=("species", "Rosa alba")), TAXONOMY)
    pd.testing.assert_frame_equal(out, given)


def test_an_observation_without_a_decision_is_named() -> None:
    with pytest.raises(TableError, match="'b'"):
        name_rows(rows("a", "b"), decisions(a=("species", "Rosa alba")), TAXONOMY)
