"""Whole runs of the tiny virtual world: what they make, what a rerun does, and that a fifth trait is one entry."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from rio_cogeo import cog_validate

pytestmark = pytest.mark.system

WOOD_DENSITY = """
id: wood_density
name: Wood density
definition: Dry mass per fresh volume of the stem.
unit: g cm-3
try_ids: [4]
valid_range: [0.05, 1.5]
unit_factors: {g cm-3: 1.0}
"""


def test_release_holds_what_a_user_needs(tiny_run, hashes) -> None:
    names = {x.name for x in tiny_run.release.iterdir()}
    pages, tables = {"report.html", "photos.html", "summary.md"}, {"scores.csv", "citation", "SHA256SUMS"}
    assert names == pages | tables | {"maps.zarr", "geotiff", "model"}
    assert {"card.yaml", "weights.safetensors", "learning_curves.png"} <= {
        x.name for x in (tiny_run.release / "model").iterdir()
    }
    listed = dict(reversed(line.split("  ")) for line in (tiny_run.release / "SHA256SUMS").read_text().splitlines())
    assert listed == {name: value for name, value in hashes(tiny_run.release).items() if name != "SHA256SUMS"}


def test_zarr_opens_plainly_with_units(tiny_run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maps = xr.open_zarr(tiny_run.release / "maps.zarr")
    assert maps["height"].attrs["units"] == "m"
    assert maps["sla"].attrs["units"] == "m2 kg-1"
    assert maps.attrs["Conventions"] == "CF-1.13, ACDD-1.3"
    assert maps.sizes == {"lat": 36, "lon": 72, "bnds": 2}
    value = maps["height"].to_numpy()
    assert np.isfinite(value).sum() > 900  # of the 5° land cells
    assert np.isnan(maps["height"].sel(lat=2.5, lon=-162.5))  # the open Pacific


def test_every_geotiff_is_a_valid_cog_in_place(tiny_run) -> None:
    paths = sorted((tiny_run.release / "geotiff").glob("*.tif"))
    assert len(paths) == 4 * 10
    for path in paths:
        valid, errors, _ = cog_validate(path, strict=True)
        assert valid, errors
        with rasterio.open(path) as raster:
            assert raster.crs.to_epsg() == 4326
            assert raster.bounds == (-180, -90, 180, 90)
            flags = path.stem.endswith(("source", "quality", "applicability"))
            assert raster.nodata == 255 if flags else np.isnan(raster.nodata)


def test_intervals_hold_their_medians(tiny_run) -> None:
    maps = xr.open_zarr(tiny_run.release / "maps.zarr").load()
    for trait in ("height", "leaf_area", "sla", "leaf_n"):
        known = np.isfinite(maps[trait].to_numpy())
        low, middle, high = (
            maps[f"{trait}_{layer}"].to_numpy()[known] for layer in ("interval_lower", "median", "interval_upper")
        )
        assert (low <= middle).all()
        assert (middle <= high).all()
        assert (maps[trait].to_numpy()[known] >= middle * (1 - 1e-6)).all()  # a log-normal mean exceeds its median


def test_scores_name_truth_and_plots(tiny_run) -> None:
    scores = pd.read_csv(tiny_run.release / "scores.csv")
    assert set(scores["reference"]) == {"truth", "plots"}
    assert {"published", "geospatial only", "species means", "virtual-inat", "virtual-gbif"} <= set(scores["map"])
    assert set(scores["scale"]) == {"ln", "log1p", "natural"}


def test_citation_counts_the_records_of_mapped_cells(tiny_run) -> None:
    counts = pd.read_csv(tiny_run.release / "citation" / "records_used.csv", keep_default_na=False)
    body = json.loads((tiny_run.release / "citation" / "derived_dataset.json").read_text())
    of_gbif = counts[counts["source"] == "gbif"]
    assert body["relatedDatasets"] == dict(zip(of_gbif["dataset_key"], of_gbif["n_records"], strict=True))
    (download,) = (
        x for x in json.loads((tiny_run.release / "citation" / "sources.json").read_text()) if "key" in x["facts"]
    )
    assert body["originalDownloadDOI"] == download["facts"]["doi"]
    # Every cell with a photo is mapped here, and a record with two photos counts once.
    encoded = tiny_run.shown.summaries["photo features"]["out"]["photos encoded"]
    assert 0.8 * encoded < counts["n_records"].sum() < encoded


def test_older_names_in_the_trait_table_are_found(tiny_run) -> None:
    assert tiny_run.shown.summaries["names"]["out"]["names renamed"] > 0
    assert tiny_run.shown.summaries["species traits"]["out"]["species with a trait"] == 40


def test_report_counts_every_loss(tiny_run) -> None:
    page = (tiny_run.release / "report.html").read_text(encoding="utf-8")
    assert "Virtual world: simulated data" in page
    for summary in tiny_run.shown.summaries.values():
        for reason in summary.get("lost", {}):
            assert reason.replace("_", " ") in page.replace("_", " ")
    assert "http-equiv" not in page
    assert "<script" not in page


def test_no_photo_is_lost_without_a_reason(tiny_run) -> None:
    shards, features = (tiny_run.shown.summaries[name] for name in ("shards", "photo features"))
    assert shards["in"]["photos"] == shards["out"]["photos held"] + sum(shards["lost"].values())
    assert features["in"]["photos"] == sum(features["out"].values()) + sum(features["lost"].values())
    assert features["in"]["photos"] >= shards["out"]["photos held"]


def test_second_run_computes_nothing(tiny_run, run_refresh) -> None:
    again = run_refresh(tiny_run.workspace, profile="tiny")
    assert again.shown.computed == []
    assert again.release.resolve() == tiny_run.release.resolve()


def test_another_region_reuses_the_world(tiny_run, run_refresh) -> None:
    africa = run_refresh(tiny_run.workspace, profile="tiny", region="africa", grid="10deg")
    assert "virtual world" in africa.shown.reused
    maps = xr.open_zarr(africa.release / "maps.zarr").load()
    known = maps["height"].notnull()
    assert bool(known.any())
    assert bool((maps["lat"].where(known.any("lon"), drop=True) <= 38).all())


def test_a_fifth_trait_is_one_entry(run_refresh, tmp_path: Path) -> None:
    overlay = tmp_path / "catalogue"
    for kind in ("traits", "profiles"):
        (overlay / kind).mkdir(parents=True)
    (overlay / "traits" / "wood.yaml").write_text(WOOD_DENSITY)
    built_in = Path(__file__).parents[2] / "data_catalog" / "profiles" / "tiny.yaml"
    profile = built_in.read_text().replace(
        "id: tiny", "id: five\ntraits: [height, leaf_area, sla, leaf_n, wood_density]"
    )
    (overlay / "profiles" / "five.yaml").write_text(profile)
    five = run_refresh(tmp_path / "workspace", profile="five", catalog=[str(overlay)])
    maps = xr.open_zarr(five.release / "maps.zarr")
    assert maps["wood_density"].attrs["units"] == "g cm-3"
    value = maps["wood_density"].to_numpy()
    assert 0.05 < np.nanmin(value) <= np.nanmax(value) < 1.5
    assert "Wood density" in (five.release / "report.html").read_text(encoding="utf-8")
    assert (five.release / "geotiff" / "wood_density_value.tif").exists()
