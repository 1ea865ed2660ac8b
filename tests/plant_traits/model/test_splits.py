"""Splits: whole blocks, whole species, whole occasions, and fates that do not hang on other records."""

import numpy as np
import pandas as pd
import pytest

from data_catalog import ModelSettings
from plant_traits.errors import ModelError
from plant_traits.model.splits import assign_splits, check_splits, occasions

SETTINGS = ModelSettings(validation_share=0.2, species_share=0.1, photo_share=0.05)


def planet(n: int = 6000, seed: int = 5) -> pd.DataFrame:
    """Records of 200 species by 500 observers on 30 days, a tenth of them without an observer, a few twice."""
    generator = np.random.default_rng(seed)
    observer = generator.integers(0, 500, n)
    table = pd.DataFrame(
        {
            "latitude": generator.uniform(-90, 90, n),
            "longitude": generator.uniform(-180, 180, n),
            "species": [f"Rosa {k}" for k in generator.integers(0, 200, n)],
            "observation": [f"o{k}" for k in range(n)],
            "photo": [f"p{k}" for k in generator.integers(0, 5 * n, n)],
            "day": [f"{a} {b}" for a, b in zip(observer, generator.integers(0, 30, n), strict=True)],
        }
    )
    table.loc[generator.random(n) < 0.1, "day"] = None
    table.loc[0, ["latitude", "longitude"]] = np.nan
    table.loc[1, "species"] = None
    return table


def splits_of(table: pd.DataFrame, settings: ModelSettings = SETTINGS) -> np.ndarray:
    species = [name if isinstance(name, str) else None for name in table["species"]]
    own = occasions(table["observation"], table["photo"], table["day"])
    return assign_splits(table["latitude"].to_numpy(), table["longitude"].to_numpy(), species, own, settings)


def test_no_photo_observation_or_observers_day_is_in_two_splits() -> None:
    table = planet()
    split = splits_of(table)
    used = table.assign(split=split)[split != "aside"]
    for key in ("observation", "photo", "day"):
        assert used.groupby(key)["split"].nunique().max() == 1
    assert set(split) == {"regions", "stopping", "species", "photos", "fitting", "aside"}


def test_held_out_blocks_and_species_have_no_part_in_the_fit() -> None:
    table = planet()
    split = splits_of(table)
    block = np.floor(table["latitude"] / 10) * 1000 + np.floor(table["longitude"] / 10)
    assert not set(block[split == "regions"]) & set(block[split == "fitting"])
    assert not set(block[split == "stopping"]) & set(block[(split == "fitting") | (split == "regions")])
    seen = np.isin(split, ["fitting", "stopping"])
    assert not set(table["species"][split == "species"]) & set(table["species"][seen])
    assert split[0] in {"species", "photos", "fitting"}  # of no block
    assert split[1] not in {"species"}


def test_shares_are_about_what_was_asked_for() -> None:
    split = splits_of(planet())
    held = np.isin(split, ["regions", "stopping"]).mean()
    assert 0.12 < held < 0.28
    assert 0.04 < (split == "species").mean() < 0.14
    assert 0.02 < (split == "photos").mean() < 0.07
    assert (split == "aside").mean() < 0.2  # a fifth of these records share a photo or a day with another


def test_other_records_do_not_move_a_record() -> None:
    table = planet()
    table["photo"], table["day"] = table["observation"], None
    whole, part = splits_of(table), splits_of(table.iloc[1::3].reset_index(drop=True))
    assert np.array_equal(part, whole[1::3])


def test_another_seed_deals_otherwise() -> None:
    table = planet()
    assert (splits_of(table) != splits_of(table, SETTINGS.model_copy(update={"seed": 2}))).mean() > 0.2


def test_occasions_join_through_each_other() -> None:
    joined = occasions(
        pd.Series(["a", "b", "c", "d", "e"]),
        pd.Series(["x", None, "x", "y", None]),
        pd.Series([None, "1", "1", None, None]),
    )
    assert joined[0] == joined[1] == joined[2]
    assert len(set(joined)) == 3


def test_a_torn_occasion_is_refused() -> None:
    with pytest.raises(ModelError, match="found 1 in two"):
        check_splits(np.array(["fitting", "regions", "aside"]), np.array([7, 7, 7]))
    check_splits(np.array(["fitting", "fitting", "aside"]), np.array([7, 7, 7]))


def test_blocks_of_one_half_alone_score() -> None:
    n = 40
    latitude = np.full(n, 5.0)
    longitude = np.repeat(np.arange(4.0), 10) * 10 + 5
    for seed in range(30):
        settings = ModelSettings(validation_share=0.3, species_share=0, photo_share=0, seed=seed)
        split = assign_splits(latitude, longitude, ["Rosa"] * n, np.arange(n), settings)
        assert (split == "stopping").sum() == 0 or (split == "regions").sum() > 0
