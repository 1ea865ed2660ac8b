"""The pipeline's own readers open every file of a virtual world and find in it what the truth says."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from data_catalog import Catalog, Profile, Trait
from maps.comparison.registry import open_product_map
from plant_traits.covariates.layers import open_layer
from plant_traits.errors import PhotoError
from plant_traits.grid import Grid
from plant_traits.sources.dwca import read_dwca
from plant_traits.sources.photos import BucketZip
from plant_traits.sources.raw_occurrence import rejected_rows
from plant_traits.sources.splotopen import read_plots
from plant_traits.sources.try_release import read_try_release
from plant_traits.traits import from_working

# The first line of a release that TRY sent.
TRY_HEADER = (
    "LastName\tFirstName\tDatasetID\tDataset\tSpeciesName\tAccSpeciesID\tAccSpeciesName\tObservationID\tObsDataID\t"
    "TraitID\tTraitName\tDataID\tDataName\tOriglName\tOrigValueStr\tOrigUnitStr\tValueKindName\tOrigUncertaintyStr\t"
    "UncertaintyName\tReplicates\tStdValue\tUnitName\tRelUncertaintyPercent\tOrigObsDataID\tErrorRisk\tReference\t"
    "Comment\t"
)


@pytest.fixture(scope="module")
def truth(tiny_world: Path) -> pd.DataFrame:
    every = pd.read_parquet(tiny_world / "truth" / "records.parquet")
    return every[every["first_month"] == "2026-10"]


def test_the_archive_holds_what_gbif_s_downloads_hold(tiny_world: Path) -> None:
    (path,) = (tiny_world / "gbif").glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        lines = archive.read("occurrence.txt").decode("utf-8").splitlines()
    assert names == {"occurrence.txt", "multimedia.txt", "meta.xml", "metadata.xml", "rights.txt", "citations.txt"}
    assert len({line.count("\t") for line in lines}) == 1
    assert not any('"' in line for line in lines)


def test_occurrences(tiny_world: Path, truth: pd.DataFrame) -> None:
    (path,) = (tiny_world / "gbif").glob("*.zip")
    raw = read_dwca(path, "gbif")
    assert rejected_rows(raw) == {}
    assert sorted(raw["photo_id"]) == sorted(truth["photo_id"])
    both = raw.merge(truth, on="photo_id", validate="one_to_one")
    assert both["occurrence_id"].equals(both["occurrenceID"])
    fine = both[both["planted"] == "none"]
    assert fine["species"].equals(fine["true_species"])
    assert np.abs(fine["latitude"] - fine["true_latitude"]).max() < 1e-5
    assert np.abs(fine["longitude"] - fine["true_longitude"]).max() < 1e-5
    assert raw["observed_on"].notna().all()
    assert (raw["observed_on"].dt.year == raw["year"]).all()
    assert raw["degree_of_establishment"].dropna().unique().tolist() == ["cultivated"]
    assert set(raw["dataset_key"]) == {"50c9509d-22c7-4a22-a47d-8c48425ef4a7", "7a3679ef-5582-4aaa-81f0-8c2545cafc81"}


def test_photos(tiny_world: Path, truth: pd.DataFrame) -> None:
    state = truth.set_index("photo_id")["photo_state"]
    present = state[state != "missing"].index
    with BucketZip(tiny_world / "photos" / "photos.zip") as photos:
        assert [photo in photos for photo in state.index] == (state != "missing").tolist()
        assert all(photos.read(photo).startswith(b"\xff\xd8") for photo in present[:20] if state[photo] == "ok")
        with pytest.raises(PhotoError):
            photos.read(state.index[(state == "missing").to_numpy()][0])


def test_try_release(tiny_world: Path, five_traits: list[Trait], truth: pd.DataFrame) -> None:
    path = tiny_world / "try" / "TRY_release.txt"
    first, *rest = path.read_bytes().decode("latin-1").split("\n")
    assert first == TRY_HEADER
    assert "Castaño" in path.read_text(encoding="latin-1")
    assert {line.count("\t") for line in rest if line} == {27}
    read = read_try_release(path, "try", five_traits)
    assert read.read == len([line for line in rest if line]) == len(read.records) + sum(read.rejected.values())
    planted = {"duplicate", "covariate", "other_trait", "error_risk", "minimum_or_maximum", "juvenile", "experiment"}
    assert planted <= set(read.rejected)
    # every unit is known and hardly a value is out of range
    assert set(read.rejected) <= planted | {"out_of_range"}
    assert read.rejected.get("out_of_range", 0) < 0.01 * len(read.records)
    assert set(read.records["trait"]) == {trait.id for trait in five_traits}
    assert set(read.records["growth_form"]) == {"tree", "shrub", "herb"}
    # A seventh of the species goes by an older name there.
    unknown = set(truth["true_species"]) - set(read.records["species"])
    assert 0 < len(unknown) <= truth["true_species"].nunique() / 5
    assert 0.25 < read.records["latitude"].notna().mean() < 0.45


def test_plots(tiny_world: Path, five_traits: list[Trait]) -> None:
    header = (tiny_world / "splotopen" / "sPlotOpen_header(3).txt").read_text(encoding="utf-8")
    assert header.startswith("PlotObservationID\tGIVD_ID\tDataset\tContinent\tCountry\tBiome\tDate_of_recording\tLat")
    assert "\tNA\t" in header
    plots = read_plots(tiny_world / "splotopen", five_traits)
    assert {"location_uncertain"} <= set(plots.rejected) <= {"location_uncertain", "trait_coverage"}
    counts = plots.plots["trait"].value_counts()
    assert set(counts.index) == {trait.id for trait in five_traits}
    assert counts.nunique() == 1
    assert counts.iloc[0] + sum(plots.rejected.values()) == 300
    for trait in five_traits:
        natural = from_working(trait, plots.plots.loc[plots.plots["trait"] == trait.id, "value"])
        assert trait.valid_range[0] < natural.min() < natural.max() < trait.valid_range[1], trait.id


@pytest.mark.parametrize("source", ["chelsa-2.1", "soilgrids-2.0"])
def test_layers(source: str, tiny_world: Path, catalog: Catalog, tiny: Profile) -> None:
    (entry,) = [raster for raster in tiny.inputs.rasters if raster.source == source]
    in_header = set()
    for name in entry.layers:
        layer = catalog.source(source).layer(name)
        with open_layer(tiny_world / entry.path / layer.file, layer) as raster:
            values, counted = raster.read()
            in_header.add(raster.dataset.scales[0] != 1.0)
            assert (raster.scale, raster.offset) == (layer.scale, layer.offset)
        assert counted.outside == 0, name
        assert 0.02 * values.size < np.isfinite(values).sum() == counted.valid, name
    assert in_header == ({True, False} if source == "chelsa-2.1" else {False})


@pytest.mark.parametrize("product", ["virtual-truth", "virtual-inat", "virtual-gbif"])
def test_product_maps(product: str, tiny_world: Path, catalog: Catalog, tiny: Profile) -> None:
    folder = tiny_world / ("truth" if product == "virtual-truth" else "products")
    traits = [catalog.trait(name) for name in tiny.traits]
    grid = Grid.parse("2deg")
    found = open_product_map(catalog.product(product), folder, traits, grid)["location"]
    true = open_product_map(catalog.product("virtual-truth"), tiny_world / "truth", traits, grid)["location"]
    assert found.dims == ("trait", "lat", "lon")
    for trait in tiny.traits:
        pair = np.stack([found.sel(trait=trait).to_numpy().ravel(), true.sel(trait=trait).to_numpy().ravel()])
        pair = pair[:, np.isfinite(pair).all(axis=0)]
        assert pair.shape[1] > 1000, trait
        # species' means carried to where they grow know something of the truth, and are not the truth
        correlation = np.corrcoef(pair)[0, 1]
        assert correlation == pytest.approx(1.0) if product == "virtual-truth" else 0.3 < correlation < 0.98, trait


def test_a_trait_of_the_user_s_own_is_everywhere(tiny_world: Path, truth: pd.DataFrame) -> None:
    density = np.exp(truth["true_wood_density"])
    assert 0.05 < density.min() < density.max() < 1.5
    with rasterio.open(tiny_world / "truth" / "true_wood_density_05deg_ln.tif") as source:
        assert source.shape == (360, 720)
        field = np.exp(source.read(1, masked=True))
    assert 0.05 < field.min() < field.max() < 1.5
    records = read_try_release(
        tiny_world / "try" / "TRY_release.txt",
        "try",
        [Trait(id="stem", name="s", definition="s", unit="g cm-3", try_ids=(4,), valid_range=(0.05, 1.5))],
    ).records
    assert len(records) > 100
