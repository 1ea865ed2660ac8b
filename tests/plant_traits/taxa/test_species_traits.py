from __future__ import annotations

import math
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data_catalog import Catalog, Trait
from plant_traits.schemas import MEASUREMENT, SPECIES_TRAIT
from plant_traits.sources.trait_tables import read_traits
from plant_traits.taxa.growth_forms import growth_form_of, growth_forms
from plant_traits.taxa.labels import labels_for
from plant_traits.taxa.species_traits import measurements, summarise


@pytest.fixture
def sla(catalog: Catalog) -> Trait:
    return catalog.trait("sla")


def records(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """Rows of (species, family, logarithm of the value)."""
    frame = pd.DataFrame(rows, columns=["species", "family", "log"])
    return frame.assign(
        record_id=[f"t:{k}:sla" for k in range(len(frame))],
        source="t",
        genus=frame["species"].str.split(" ").str[0],
        growth_form="tree",
        trait="sla",
        value=np.exp(frame["log"]),
        latitude=[45.0] + [np.nan] * (len(frame) - 1),
        longitude=[9.0] + [np.nan] * (len(frame) - 1),
    )


WORLD = (
    ("Aa one", "Aaceae", 1.0), ("Aa one", "Aaceae", 1.2), ("Aa one", "Aaceae", 1.4),
    ("Aa two", "Aaceae", 2.0), ("Aa two", "Aaceae", 2.4),
    ("Aa three", "Aaceae", 3.0),
    ("Bb one", "Aaceae", 0.5),
)  # fmt: skip


def by_taxon(summary: pd.DataFrame, taxon: str) -> pd.Series:
    return summary.set_index("taxon").loc[taxon]


def test_species_are_summarised_over_their_records(sla: Trait) -> None:
    summary = summarise(records(*WORLD), [sla])
    one = by_taxon(summary, "Aa one")
    assert one[["n", "rank", "growth_form"]].tolist() == [3, "species", "tree"]
    assert one[["median", "mean", "sd"]].to_numpy(dtype=float) == pytest.approx([1.2, 1.2, 0.2])
    assert one[["q05", "q25", "q75", "q95"]].to_numpy(dtype=float) == pytest.approx([1.02, 1.1, 1.3, 1.38])


def test_few_records_take_the_pooled_spread(sla: Trait) -> None:
    summary = summarise(records(*WORLD), [sla])
    # within species: 2 degrees of freedom at 0.2, 1 at sd(2.0, 2.4)
    pooled = math.sqrt((2 * 0.2**2 + statistics.variance([2.0, 2.4])) / 3)
    normal = statistics.NormalDist(3.0, pooled)
    three = by_taxon(summary, "Aa three")
    assert three["sd"] == pytest.approx(pooled)
    assert by_taxon(summary, "Aa two")["sd"] == pytest.approx(pooled)
    assert three[["q05", "q25", "q75", "q95"]].to_numpy(dtype=float) == pytest.approx(
        [normal.inv_cdf(p) for p in (0.05, 0.25, 0.75, 0.95)]
    )


def test_a_genus_counts_each_species_once_and_is_wider(sla: Trait) -> None:
    summary = summarise(records(*WORLD), [sla])
    genus = by_taxon(summary, "Aa")
    pooled = math.sqrt((2 * 0.2**2 + statistics.variance([2.0, 2.4])) / 3)
    among = statistics.variance([1.2, 2.2, 3.0])
    assert genus[["n", "rank"]].tolist() == [6, "genus"]
    assert genus["median"] == pytest.approx(2.2)
    assert genus["sd"] == pytest.approx(math.sqrt(among + (0.2**2 + 2 * pooled**2) / 3))
    # a genus of one species takes the pooled spread among species of a genus
    other = by_taxon(summary, "Bb")
    within = ((0.2**2 + 2 * pooled**2) / 3 + pooled**2) / 2
    assert other["sd"] == pytest.approx(math.sqrt(among + within))
    family = by_taxon(summary, "Aaceae")
    assert family["rank"] == "family"
    assert family["n"] == 7
    assert family["median"] == pytest.approx((2.2 + 0.5) / 2)
    assert family["sd"] > genus["sd"] > by_taxon(summary, "Aa one")["sd"]


def test_the_summary_has_its_schema_and_no_order(sla: Trait, catalog: Catalog) -> None:
    frame = records(*WORLD)
    summary = summarise(frame, [sla, catalog.trait("height")])
    pa.Table.from_pandas(summary, schema=SPECIES_TRAIT, preserve_index=False)
    again = summarise(frame.sample(frac=1, random_state=3), [catalog.trait("height"), sla])
    pd.testing.assert_frame_equal(summary, again)
    assert summarise(frame.head(0), [sla]).empty
    assert math.isnan(by_taxon(summarise(frame.head(1), [sla]), "Aa one")["sd"])


def test_labels_take_species_then_genus_then_family(sla: Trait) -> None:
    summary = summarise(records(*WORLD), [sla])
    frame = pd.DataFrame(
        {
            "species": ["Aa one", "Aa nine", "Cc nine", "Dd one", None],
            "genus": ["Aa", "Aa", "Cc", "Dd", "Aa"],
            "family": ["Aaceae", "Aaceae", "Aaceae", None, None],
        },
        index=[10, 11, 12, 13, 14],
    )
    labels = labels_for(frame, summary, [sla])
    assert labels["sla_rank"].fillna("-").tolist() == ["species", "genus", "family", "-", "genus"]
    assert labels["sla_median"].tolist()[:3] == pytest.approx([1.2, 2.2, 1.35])
    assert np.isnan(labels.loc[13, ["sla_median", "sla_sd", "sla_low", "sla_high"]].to_numpy(dtype=float)).all()
    width = (labels["sla_high"] - labels["sla_low"]).tolist()
    assert width[0] < width[1] < width[2]
    assert list(labels.index) == [10, 11, 12, 13, 14]


def test_growth_forms_by_majority() -> None:
    frame = pd.DataFrame(
        {
            "species": ["A a", "A a", "A a", "A b", "A c", "B a", "B b", "C a", "C a"],
            "genus": list("AAAAABBCC"),
            "growth_form": ["tree", "tree", "herb", "tree", "shrub", "tree", "herb", "tree", "shrub"],
        }
    )
    forms = growth_forms(frame)
    assert forms["A a"] == "tree"
    assert forms["A"] == "tree"
    assert "B" not in forms.index
    assert forms["C a"] == "shrub"
    rows = pd.DataFrame({"species": ["A c", "A z", "B z", None], "genus": ["A", "A", "B", "A"]})
    assert growth_form_of(rows, forms).fillna("-").tolist() == ["shrub", "tree", "-", "tree"]
    stated = rows.assign(growth_form=["herb", None, None, None])
    assert growth_form_of(stated, forms).fillna("-").tolist() == ["herb", "tree", "-", "tree"]


def test_measurements_are_the_records_with_coordinates(sla: Trait) -> None:
    found = measurements(records(*WORLD))
    assert found["measurement_id"].tolist() == ["t:0:sla"]
    assert found["value"].tolist() == pytest.approx([math.e])
    pa.Table.from_pandas(found, schema=MEASUREMENT, preserve_index=False)


@pytest.mark.real
def test_real_leaf_traits_are_credible(real_data: Path, sla: Trait) -> None:
    sites = read_traits("site-records", real_data / "species_traits" / "agg_try30_pred6.csv", "sites", [sla])
    summary = summarise(sites.records, [sla])
    assert summary["sd"].notna().all()
    pine, meadow_grass = by_taxon(summary, "Pinus"), by_taxon(summary, "Poa")
    assert np.exp(pine["median"]) < 8 < np.exp(meadow_grass["median"])
