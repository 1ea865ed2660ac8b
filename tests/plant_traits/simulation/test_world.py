"""A whole small world: its formats open in the standard readers, its errors are where it says, its bytes repeat."""

import csv
import hashlib
import io
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image, UnidentifiedImageError

from data_catalog import Trait, WorldSettings, load_catalog
from plant_traits.simulation.dirt import SHARES
from plant_traits.simulation.world import build_world

SETTINGS = WorldSettings(
    seed=7,
    photos=200,
    species=40,
    observers=30,
    plots=150,
    climate_resolution=2.0,
    soil_resolution_m=200_000.0,
    photo_size=64,
)
DENSITY = Trait(
    id="wood_density",
    name="Wood density",
    definition="Dry mass per fresh volume of the stem.",
    unit="g cm-3",
    try_ids=(4,),
    working_space="identity",
    valid_range=(0.05, 1.6),
    unit_factors={"g cm-3": 1.0},
)
CORE = ("height", "leaf_area", "sla", "leaf_n")


def traits() -> list[Trait]:
    catalog = load_catalog()
    return [*(catalog.trait(name) for name in CORE), DENSITY]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build_world(SETTINGS, traits(), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def truth(world: Path) -> pd.DataFrame:
    every = pd.read_parquet(world / "truth" / "records.parquet")
    return every[every["first_month"] == "2026-10"]


def member(world: Path, name: str) -> bytes:
    (path,) = (world / "gbif").glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def table(world: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(member(world, name)), sep="\t", quoting=csv.QUOTE_NONE, dtype=str)


def release(world: Path) -> pd.DataFrame:
    path = world / "try" / "TRY_release.txt"
    return pd.read_csv(path, sep="\t", encoding="latin-1", quoting=csv.QUOTE_NONE, dtype=str)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_processes_write_the_same_bytes_as_one(world: Path, tmp_path: Path) -> None:
    build_world(SETTINGS, traits(), tmp_path, workers=2)
    assert digests(tmp_path) == digests(world)


def test_another_seed_gives_another_world(world: Path, tmp_path: Path) -> None:
    build_world(SETTINGS.model_copy(update={"seed": 8}), traits(), tmp_path)
    other, here = digests(tmp_path), digests(world)
    assert other.keys() == here.keys()
    # temperature seasonality follows latitude and the distance to the sea alone, and the land is the real one
    assert [name for name in here if other[name] == here[name]] == ["chelsa/CHELSA_bio4_1981-2010_V.2.1.tif"]


def test_the_archive_describes_its_own_columns(world: Path) -> None:
    meta = ElementTree.fromstring(member(world, "meta.xml"))
    space = {"dwc": "http://rs.tdwg.org/dwc/text/"}
    for part, name in (("core", "occurrence.txt"), ("extension", "multimedia.txt")):
        described = meta.findall(f"dwc:{part}/dwc:field", space)
        terms = [field.attrib["term"].rsplit("/", 1)[1] for field in described]
        assert terms == list(table(world, name).columns)
        assert [int(field.attrib["index"]) for field in described] == list(range(len(terms)))


def test_photos_are_named_as_in_the_open_bucket(world: Path, truth: pd.DataFrame) -> None:
    media = table(world, "multimedia.txt")
    expected = "https://inaturalist-open-data.s3.amazonaws.com/photos/" + truth["photo_id"] + "/original.jpg"
    assert media["identifier"].tolist() == expected.tolist()
    assert media["gbifID"].tolist() == truth["gbifID"].astype(str).tolist()
    with zipfile.ZipFile(world / "photos" / "photos.zip") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        kept = truth.loc[truth["photo_state"] != "missing", "photo_id"]
        assert archive.namelist() == [f"photos/{photo}/original.jpg" for photo in kept]


def test_exactly_the_photos_called_corrupt_do_not_open(world: Path, truth: pd.DataFrame) -> None:
    broken = set()
    with zipfile.ZipFile(world / "photos" / "photos.zip") as archive:
        for name in archive.namelist():
            try:
                with Image.open(io.BytesIO(archive.read(name))) as image:
                    image.load()
                    assert min(image.size) == 64
            except (UnidentifiedImageError, OSError):
                broken.add(name.split("/")[1])
    assert broken == set(truth.loc[truth["photo_state"] == "corrupt", "photo_id"])


def test_each_planted_error_is_in_the_record_that_the_truth_names(world: Path, truth: pd.DataFrame) -> None:
    records = table(world, "occurrence.txt").merge(
        truth.drop_duplicates("gbifID")
        .assign(gbifID=lambda frame: frame["gbifID"].astype(str))
        .drop(columns="occurrenceID"),
        on="gbifID",
        validate="one_to_one",
    )
    numbers = records[["decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters"]].astype(float)
    latitude, longitude, uncertainty = (numbers[name] for name in numbers)
    planted = records["planted"]
    originals = int((planted != "duplicate").sum())
    for kind, share in SHARES.items():
        assert (planted == kind).sum() == max(1, round(share * originals)), kind
    # duplicates copy records that keep "none"; every other error marks its own record and no other
    assert (records["species"] != records["true_species"]).equals(planted == "misidentified")
    assert latitude.isna().equals(planted == "missing_coordinates")
    assert ((latitude == 0) & (longitude == 0)).equals(planted == "zero_coordinates")
    assert (uncertainty > 10_000).equals(planted == "uncertain")
    assert (records["year"].astype(int) < 1900).equals(planted == "old")
    assert records["degreeOfEstablishment"].notna().equals(planted == "captive")
    repeated = ["species", "decimalLatitude", "decimalLongitude", "eventDate", "recordedBy"]
    assert set(records.index[planted == "duplicate"]) <= set(records.index[records.duplicated(repeated)])
    assert records["occurrenceID"].is_unique


def test_true_values_are_credible_for_single_plants(truth: pd.DataFrame) -> None:
    for trait in traits():
        value = truth[f"true_{trait.id}"].to_numpy()
        natural = np.exp(value) if trait.working_space == "ln" else value
        assert trait.valid_range[0] <= natural.min() < natural.max() <= trait.valid_range[1], trait.id


def test_the_release_has_try_s_columns_and_an_empty_last_one(world: Path) -> None:
    first, second = (world / "try" / "TRY_release.txt").read_bytes().split(b"\n")[:2]
    assert first.count(b"\t") == second.count(b"\t") == 27
    assert first.endswith(b"Comment\t")
    frame = release(world)
    assert frame.iloc[:, 27].isna().all()
    assert (frame["OrigObsDataID"].notna()).any()
    assert (frame["ErrorRisk"].astype(float) > 4).any()
    assert {"Minimum", "Maximum"} <= set(frame["ValueKindName"].dropna())
    assert {"59", "60", "47"} <= set(frame["DataID"])
    duplicates = frame[frame["OrigObsDataID"].notna()]
    assert set(duplicates["OrigObsDataID"]) <= set(frame["ObsDataID"])


def test_a_fifth_trait_is_measured_mapped_and_in_the_plots(world: Path, truth: pd.DataFrame) -> None:
    frame = release(world)
    values = frame.loc[frame["TraitID"] == "4", "StdValue"].astype(float)
    assert len(values) > 50
    with rasterio.open(world / "truth" / "true_wood_density_05deg_ln.tif") as source:
        field = source.read(1, masked=True)
    assert 0.05 < field.min() < field.max() < 1.6
    means = pd.read_csv(world / "splotopen" / "sPlotOpen_CWM_CWV(2).txt", sep="\t")
    # sPlotOpen averages logarithms whatever the trait
    assert 0.05 < np.exp(means["StemDens_CWM"]).min() < np.exp(means["StemDens_CWM"]).max() < 1.6
    assert truth["true_wood_density"].notna().all()


def test_a_species_measured_in_try_has_the_size_it_has_in_the_records(world: Path, truth: pd.DataFrame) -> None:
    frame = release(world)
    rows = frame[(frame["TraitID"] == "3106") & ~(frame["ErrorRisk"].astype(float) > 4)]
    measured = np.log(rows["StdValue"].astype(float)).groupby(rows["AccSpeciesName"]).median()
    seen = truth.groupby("true_species")["true_height"].median()
    both = pd.concat([measured, seen], axis=1).dropna()
    assert len(both) > 10
    assert both.corr().iloc[0, 1] > 0.8


def test_climate_has_chelsa_s_frame_and_agrees_with_itself(world: Path) -> None:
    catalog = load_catalog().source("chelsa-2.1")
    values = {}
    for layer in catalog.layers:
        with rasterio.open(world / "chelsa" / layer.file) as source:
            assert source.crs.to_epsg() == 4326
            assert source.shape == (87, 180)
            assert source.transform.c == pytest.approx(-180.000138888, abs=1e-8)
            assert source.transform.f == pytest.approx(83.999861111, abs=1e-8)
            assert (source.scales[0], source.offsets[0]) in {(1.0, 0.0), (layer.scale, layer.offset)}
            values[layer.id] = source.read(1, masked=True).astype(np.float64) * layer.scale + layer.offset
        low, high = layer.valid_range
        assert low <= values[layer.id].min() <= values[layer.id].max() <= high, layer.id
    assert np.abs(values["bio7"] - (values["bio5"] - values["bio6"])).max() < 0.16
    assert (values["bio6"] <= values["bio11"]).all()
    assert (values["bio10"] <= values["bio5"]).all()
    assert (values["bio14"] <= values["bio17"] + 0.1).all()
    assert (values["bio16"] <= values["bio13"] + 0.1).all()


def test_soil_is_in_interrupted_goode_homolosine_and_adds_up(world: Path) -> None:
    parts = []
    for layer in load_catalog().source("soilgrids-2.0").layers:
        with rasterio.open(world / "soilgrids" / layer.file) as source:
            assert "Goode_Homolosine" in source.crs.to_wkt()
            assert source.dtypes == ("int16",)
            assert source.nodata == -32768
            stored = source.read(1, masked=True).astype(np.float64)
        value = stored * layer.scale + layer.offset
        assert 0.02 < 1 - stored.mask.mean() < 0.5
        assert layer.valid_range[0] <= value.min() <= value.max() <= layer.valid_range[1], layer.id
        if layer.id in {"sand", "silt", "clay"}:
            parts.append(value)
    assert np.abs(sum(parts) - 100).max() < 0.2


def test_plots_join_and_their_covers_add_to_one(world: Path) -> None:
    folder = world / "splotopen"
    header = pd.read_csv(folder / "sPlotOpen_header(3).txt", sep="\t", keep_default_na=False, na_values="NA")
    plants = pd.read_csv(folder / "sPlotOpen_DT(2).txt", sep="\t")
    means = pd.read_csv(folder / "sPlotOpen_CWM_CWV(2).txt", sep="\t")
    assert len(header) == len(means) == 150
    assert header["PlotObservationID"].equals(means["PlotObservationID"])
    covers = plants.groupby("PlotObservationID")["Relative_cover"].sum()
    assert set(covers.index) == set(header["PlotObservationID"])
    assert covers.to_numpy() == pytest.approx(np.ones(150), abs=1e-4)
    for column in ("PlantHeight", "LeafArea", "SLA", "LeafN"):
        assert means[f"{column}_CWM"].notna().all()
        assert (means[f"{column}_CWV"] >= 0).all()
    assert means["SeedMass_CWM"].isna().all()


def test_plots_lie_near_the_true_community_mean(world: Path) -> None:
    header = pd.read_csv(world / "splotopen" / "sPlotOpen_header(3).txt", sep="\t")
    means = pd.read_csv(world / "splotopen" / "sPlotOpen_CWM_CWV(2).txt", sep="\t")
    with rasterio.open(world / "truth" / "true_height_05deg_ln.tif") as source:
        assert source.shape == (360, 720)
        points = list(zip(header["Longitude"], header["Latitude"], strict=True))
        field = np.ma.stack(list(source.sample(points, masked=True)))[:, 0]
    kept = ~np.ma.getmaskarray(field)
    assert kept.mean() > 0.8
    assert np.corrcoef(field.data[kept], means["PlantHeight_CWM"].to_numpy()[kept])[0, 1] > 0.7


@pytest.mark.parametrize("code", ["18", "3112", "11", "14"])
def test_products_open_as_rraster_with_their_six_bands(world: Path, code: str) -> None:
    with rasterio.open(world / "products" / f"GBIF_TRYgapfilled_X{code}_2deg.grd") as source:
        assert source.driver == "RRASTER"
        assert source.shape == (90, 180)
        assert source.descriptions == ("count", "mean", "median", "sd", "quantile05", "quantile95")
        count, mean, median, _, low, high = source.read()
    found = np.isfinite(median)
    assert 0.1 < found.mean() < 0.5
    assert (count[found] > 0).all()
    assert (mean[found] > 0).all()
    assert ((low[found] <= median[found]) & (median[found] <= high[found])).all()
