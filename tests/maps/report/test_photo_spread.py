"""The choice of a few photos among many: fair to growth forms and species, and the same however they are read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from maps.report.photo_spread import shortlist, spread

LIMIT = 60


def photos() -> pd.DataFrame:
    """500 trees of one common and 9 rarer species, 90 herbs of 30 species, 4 shrubs, 2 of nothing known."""
    species = ["Acer a"] * 410 + [f"Quercus q{i}" for i in range(9) for _ in range(10)]
    species += [f"Poa p{i % 30}" for i in range(90)] + ["Rosa r"] * 4
    forms = ["tree"] * 500 + ["herb"] * 90 + ["shrub"] * 4
    table = pd.DataFrame({"species": [*species, None, None], "growth_form": [*forms, None, None]})
    return table.assign(
        observation_id=[f"o{i}" for i in range(len(table))], photo_id=[f"p{i}" for i in range(len(table))]
    )


def test_growth_forms_take_turns_and_species_within_them() -> None:
    chosen = spread(photos(), LIMIT)
    assert len(chosen) == LIMIT
    assert chosen["growth_form"].fillna("none").value_counts().to_dict() == {
        "tree": 27, "herb": 27, "shrub": 4, "none": 2,
    }  # fmt: skip
    trees = chosen.loc[chosen["growth_form"] == "tree", "species"].value_counts()
    assert len(trees) == 10
    assert trees.min() == 2
    assert trees.max() == 3  # the common species has no more than its turn
    assert chosen.loc[chosen["growth_form"] == "herb", "species"].nunique() == 27


def test_neither_the_order_of_rows_nor_their_labels_matter() -> None:
    table = photos()
    shuffled = table.sample(frac=1, random_state=np.random.RandomState(3))
    relabelled = shuffled.set_axis(range(1000, 1000 + len(shuffled)))
    expected = spread(table, LIMIT)["photo_id"].tolist()
    assert spread(shuffled, LIMIT)["photo_id"].tolist() == expected
    assert spread(relabelled, LIMIT)["photo_id"].tolist() == expected


@pytest.mark.parametrize("portions", [2, 7, 60])
def test_portions_with_short_lists_choose_the_same(portions: int) -> None:
    table = photos().sample(frac=1, random_state=np.random.RandomState(portions)).reset_index(drop=True)
    kept = table.iloc[:0]
    for part in np.array_split(np.arange(len(table)), portions):
        kept = shortlist(pd.concat([kept, table.iloc[part]], ignore_index=True), LIMIT)
    assert spread(kept, LIMIT)["photo_id"].tolist() == spread(table, LIMIT)["photo_id"].tolist()
    assert len(kept) < len(table) / 2


def test_a_short_list_keeps_as_many_as_are_to_be_chosen() -> None:
    of_one_species = photos().iloc[:410]
    assert set(shortlist(of_one_species, LIMIT)["photo_id"]) == set(spread(of_one_species, LIMIT)["photo_id"])
    assert len(shortlist(of_one_species, LIMIT)) == LIMIT


def test_few_photos_are_all_chosen_and_none_is_no_error() -> None:
    table = photos()
    assert len(spread(table, 10_000)) == len(table)
    assert set(shortlist(table, 10_000)["photo_id"]) == set(table["photo_id"])
    assert len(spread(table.iloc[:0], 5)) == 0
    assert len(shortlist(table, 0)) == 0
