"""The records of species: what the summaries are made of, and what labels may be drawn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data_catalog import Catalog, Trait
from plant_traits.errors import ModelError, TableError
from plant_traits.model.labels import NO_RECORDS
from plant_traits.schemas import SPECIES_RECORD, SPECIES_TRAIT, read_table
from plant_traits.sources.trait_tables import read_traits
from plant_traits.stages.names import NAMES
from plant_traits.stages.taxa import RECORDS, summarise_taxa
from plant_traits.taxa.labels import labels_for, records_for
from plant_traits.taxa.species_traits import records_of_species, summarise


@pytest.fixture
def traits(catalog: Catalog) -> list[Trait]:
    return [catalog.trait("sla"), catalog.trait("height")]


def trait_records(*rows: tuple[str | None, str, str, str, float]) -> pd.DataFrame:
    """Rows of (species, genus, family, trait, value in the canonical unit)."""
    frame = pd.DataFrame(rows, columns=["species", "genus", "family", "trait", "value"])
    return frame.assign(
        record_id=[f"t:{k}" for k in range(len(frame))],
        source="t",
        growth_form="herb",
        latitude=np.nan,
        longitude=np.nan,
    )


WORLD = (
    ("Aa one", "Aa", "Aaceae", "sla", 30.0),
    ("Aa one", "Aa", "Aaceae", "sla", 10.0),
    ("Aa one", "Aa", "Aaceae", "sla", 20.0),
    ("Aa one", "Aa", "Aaceae", "height", 2.0),
    ("Aa two", "Aa", "Aaceae", "sla", 5.0),
    ("Aa two", "Aa", "Aaceae", "sla", 0.0),  # no logarithm
    ("Aa two", "Aa", "Aaceae", "sla", np.inf),
    (None, "Aa", "Aaceae", "sla", 40.0),  # of the genus alone
    ("Bb one", "Bb", "Aaceae", "height", np.nan),
    ("Bb one", "Bb", "Aaceae", "seed_mass", 1.0),  # not asked for
)


def assert_same_medians(values: pd.DataFrame, summary: pd.DataFrame) -> int:
    species = summary[summary["rank"] == "species"].set_index(["taxon", "trait"]).sort_index()
    groups = values.groupby(["taxon", "trait"])["value"]
    assert groups.median().index.equals(species.index)
    np.testing.assert_array_equal(groups.median(), species["median"])
    np.testing.assert_array_equal(groups.size(), species["n"])
    return len(species)


def test_single_values_pass_the_exclusions_of_the_summary(traits: list[Trait]) -> None:
    values = records_of_species(trait_records(*WORLD), traits)
    pa.Table.from_pandas(values, schema=SPECIES_RECORD, preserve_index=False)
    assert values[["trait", "taxon"]].to_numpy().tolist() == [
        ["height", "Aa one"], *[["sla", "Aa one"]] * 3, ["sla", "Aa two"],
    ]  # fmt: skip
    np.testing.assert_allclose(values["value"], np.log([2.0, 10.0, 20.0, 30.0, 5.0]))


def test_medians_of_the_single_values_are_those_of_the_summary(traits: list[Trait]) -> None:
    generator = np.random.default_rng(1)
    rows = [
        (f"Aa s{k}" if k else None, "Aa", "Aaceae", trait.id, value)
        for k in range(20)
        for trait in traits
        for value in np.exp(generator.normal(1.0, 0.5, size=int(generator.integers(1, 9))))
    ]
    frame = trait_records(*rows)
    values = records_of_species(frame, traits)
    assert assert_same_medians(values, summarise(frame, traits)) == 19 * 2
    shuffled = records_of_species(frame.sample(frac=1, random_state=2), traits[::-1])
    pd.testing.assert_frame_equal(values, shuffled)


def test_no_records_and_no_traits_give_an_empty_table(traits: list[Trait]) -> None:
    nothing = trait_records(*WORLD).head(0)
    assert list(records_of_species(nothing, traits).columns) == SPECIES_RECORD.names
    assert list(records_of_species(nothing, []).columns) == SPECIES_RECORD.names
    found = records_for(pd.DataFrame({"species": ["Aa one"]}), records_of_species(nothing, traits), traits)
    assert found.position.tolist() == [[NO_RECORDS, NO_RECORDS]]
    assert np.isnan(found.draw(1, 0)).all()


def photos() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "species": ["Aa two", "Aa one", "Aa nine", "Cc nine", "Zz one", None, "Aa one"],
            "genus": ["Aa", "Aa", "Aa", "Cc", "Zz", "Aa", "Aa"],
            "family": ["Aaceae", "Aaceae", "Aaceae", "Aaceae", None, "Aaceae", "Aaceae"],
        },
        index=[7, 6, 5, 4, 3, 2, 1],
    )


def test_rows_have_records_exactly_where_their_label_is_of_the_species(traits: list[Trait]) -> None:
    frame = trait_records(*WORLD)
    found = records_for(photos(), records_of_species(frame, traits), traits)
    labels = labels_for(photos(), summarise(frame, traits), traits)
    rank = labels[["sla_rank", "height_rank"]].fillna("-").to_numpy()
    assert rank[:, 0].tolist() == ["species", "species", "genus", "family", "-", "genus", "species"]
    assert ((found.position != NO_RECORDS) == (rank == "species")).all()


def test_rows_draw_from_their_own_species_and_trait(traits: list[Trait]) -> None:
    values = records_of_species(trait_records(*WORLD), traits)
    found = records_for(photos(), values.sample(frac=1, random_state=1), traits)
    drawn = np.exp([found.draw(1, epoch) for epoch in range(60)])
    seen = [{round(float(v), 6) for v in drawn[:, row, 0] if not np.isnan(v)} for row in range(7)]
    assert seen == [{5.0}, {10.0, 20.0, 30.0}, set(), set(), set(), set(), {10.0, 20.0, 30.0}]
    np.testing.assert_allclose(drawn[:, [1, 6], 1], 2.0)
    assert np.isnan(drawn[:, [0, 2, 3, 4, 5], 1]).all()


def test_the_order_of_the_records_does_not_matter(traits: list[Trait]) -> None:
    values = records_of_species(trait_records(*WORLD), traits)
    first = records_for(photos(), values, traits)
    again = records_for(photos(), values.sample(frac=1, random_state=5), traits)
    assert np.array_equal(first.draw(1, 2), again.draw(1, 2), equal_nan=True)


def test_records_without_a_number_or_a_taxon_are_refused(traits: list[Trait]) -> None:
    values = records_of_species(trait_records(*WORLD), traits)
    wrong = values.assign(value=values["value"].mask(values["taxon"] == "Aa two"))
    with pytest.raises(ModelError, match="found nan for sla of Aa two"):
        records_for(photos(), wrong, traits)
    nameless = values.assign(taxon=values["taxon"].mask(values["taxon"] == "Aa two"))
    with pytest.raises(TableError, match="found 1 of 5 without"):
        records_for(photos(), nameless, traits)


def test_a_species_with_one_record_keeps_a_finite_spread_beside_others(traits: list[Trait]) -> None:
    labels = labels_for(photos(), summarise(trait_records(*WORLD), traits), traits)
    two = labels.loc[7]
    assert two["sla_sd"] == pytest.approx(np.log([10.0, 20.0, 30.0]).std(ddof=1))  # the only species with a spread
    assert two["sla_median"] == pytest.approx(np.log(5.0))
    assert two["sla_low"] < two["sla_median"] < two["sla_high"]
    alone = labels.loc[6]  # one record of the trait in all
    assert alone["height_median"] == pytest.approx(np.log(2.0))
    assert np.isnan([alone["height_sd"], alone["height_low"], alone["height_high"]]).all()


def test_a_trait_without_records_has_no_labels(traits: list[Trait]) -> None:
    frame = trait_records(*[row for row in WORLD if row[3] != "height"])
    labels = labels_for(photos(), summarise(frame, traits), traits)
    assert labels["height_median"].isna().all()
    assert labels["height_rank"].isna().all()
    assert (records_for(photos(), records_of_species(frame, traits), traits).position[:, 1] == NO_RECORDS).all()


def test_the_stage_writes_both_under_accepted_names(tmp_path: Path, traits: list[Trait]) -> None:
    folders = {name: tmp_path / name for name in ("records", "names", "out")}
    for folder in folders.values():
        folder.mkdir()
    trait_records(*WORLD).to_parquet(folders["records"] / RECORDS)
    answers = pd.DataFrame(
        {
            "name": ["Aa one", "Aa two", "Bb one"],
            "accepted_species": ["Aa one", "Aa one", None],
            "accepted_key": ["1", "1", None],
            "genus": ["Aa", "Aa", "Bb"],
            "family": "Aaceae",
            "match_type": ["EXACT", "EXACT", "NONE"],
            "homonyms": False,
        }
    )
    answers.to_parquet(folders["names"] / NAMES)
    told = summarise_taxa(folders["out"], records=folders["records"], names=folders["names"], traits=traits)
    values = read_table(folders["out"] / "species_records.parquet", SPECIES_RECORD)
    summary = read_table(folders["out"] / "species_traits.parquet", SPECIES_TRAIT)
    assert assert_same_medians(values, summary) == 2
    np.testing.assert_allclose(values["value"], np.log([2.0, 5.0, 10.0, 20.0, 30.0]))  # "Aa two" is "Aa one"
    assert set(values["taxon"]) == {"Aa one"}
    assert told["in"]["trait records"] == 10
    assert (told["out"]["values of species"], told["out"]["values left to their genus"]) == (5, 1)
    assert sum(told["lost"].values()) == 4  # zero, infinite, missing, and of another trait


@pytest.mark.real
def test_real_medians_are_those_of_the_records(real_data: Path, traits: list[Trait]) -> None:
    tables = real_data / "species_traits"
    read = [("brot", tables / "BROT2_dat.csv"), ("site-records", tables / "agg_try30_pred6.csv")]
    frame = pd.concat([read_traits(reader, path, reader, traits).records for reader, path in read], ignore_index=True)
    assert assert_same_medians(records_of_species(frame, traits), summarise(frame, traits)) > 1000
