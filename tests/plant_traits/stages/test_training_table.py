"""The training table: which records take part, what stands beside them, and tables that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import rasterio
from rasterio.transform import from_origin

from data_catalog import Catalog, ModelSettings, RasterLayer, Source, Trait
from plant_traits.covariates.biomes import AS_LOGARITHM, NEEDED
from plant_traits.covariates.cube import LayerFolder, model_matrix, sample_covariates
from plant_traits.errors import InputError, TableError
from plant_traits.model.features import PhotoFeatures, write_features
from plant_traits.model.photo_hashes import hashes_of_bytes
from plant_traits.schemas import MEASUREMENT, PHOTO, SHARD_ROW, SPECIES_RECORD, SPECIES_TRAIT, write_table
from plant_traits.stages import training_table
from plant_traits.stages.covariates import read_points, write_points
from plant_traits.stages.photos import FEATURES
from plant_traits.stages.training_rows import ShardFolders
from plant_traits.stages.training_table import build_training_table, read_training_table

# bio1, bio10, bio11 in °C, bio12, bio18, bio19 in mm: Manaus stands for the north, the Sahara for the south.
NORTH, SOUTH = (27.4, 28.0, 26.9, 2165.0, 280.0, 811.0), (21.1, 28.0, 12.9, 43.0, 17.0, 5.0)
SEA = (0.0, -100.0)  # of no covariate

# id, photo, picture, species, latitude, longitude, observer, day. A photo whose picture is "-" is unusable.
WEST = [
    ("o0", "p0", "a", "Rosa canina", 45.0, 15.0, "ann", "2024-05-01"),
    ("o1", "p1", "b", "Rosa canina", 25.0, 55.0, "ann", "2024-05-01"),
    ("o2", "p2", "c", "Rosa gallica", 45.0, 25.0, None, "2024-05-01"),
    ("o3", "p3", "d", "Tilia cordata", 45.0, 25.0, "bob", "2024-05-01"),
    ("o4", None, None, "Rosa canina", 45.2, 15.2, "cid", "2024-05-01"),
    ("o5", None, None, "Rosa canina", 45.3, 15.3, "dee", "2024-05-01"),
]
EAST = [
    ("o6", "p6", "c", "Rosa gallica", -25.0, 105.0, "ann", "2024-06-01"),
    ("o7", "p7", "-", "Rosa canina", -25.0, 125.0, "ann", None),
    ("o8", "p8", "e", "Rosa canina", *SEA, "ann", None),
    ("o9", None, None, "Rosa canina", *SEA, "eve", "2024-06-01"),
    ("o10", None, None, "Rosa canina", 45.4, 15.4, "fay", "2024-06-02"),
]
TAXA = pd.DataFrame(
    [
        ("Rosa canina", "species", "height", 1.0, 0.2, 0.7, 1.3),
        ("Rosa", "genus", "height", 0.5, 0.4, -0.2, 1.1),
        ("Rosa", "genus", "sla", 2.5, 0.3, 2.0, 3.0),
    ],
    columns=["taxon", "rank", "trait", "median", "sd", "q05", "q95"],
).assign(growth_form=None, n=3, mean=0.0, q25=0.0, q75=0.0)
MEASURED = [
    ("Rosa canina", -35.0, 25.0, "height", 1.0),
    ("Rosa canina", -35.0, 25.0, "height", 4.0),
    ("Rosa canina", -35.0, 25.0, "sla", 10.0),
    ("Quercus robur", 35.0, 25.0, "height", 20.0),
    ("Quercus robur", 35.0, 25.0, "wood_density", 0.6),  # of none of the model's traits
]


@pytest.fixture
def traits(catalog: Catalog) -> list[Trait]:
    return [catalog.trait("height"), catalog.trait("sla")]


@pytest.fixture
def rasters(tmp_path: Path) -> tuple[LayerFolder, ...]:
    profile = {"driver": "GTiff", "width": 36, "height": 18, "count": 1, "dtype": "float32", "nodata": -999}
    layers = []
    for name, north, south in zip(NEEDED, NORTH, SOUTH, strict=True):
        values = np.full((18, 36), south, dtype=np.float32)
        values[:9] = north
        values[6:13, 5:12] = -999  # a sea wider than the search for a valid pixel
        place = from_origin(-180, 90, 10, 10)
        with rasterio.open(tmp_path / f"{name}.tif", "w", crs="EPSG:4326", transform=place, **profile) as raster:
            raster.write(values, 1)
        log = name in AS_LOGARITHM
        layers.append(
            RasterLayer(id=name, name=name, unit="1", file=f"{name}.tif", valid_range=(-99, 9999), nodata=-999, log=log)
        )
    source = Source(id="climate", title="c", kind="raster", licence="CC0 1.0", citation="none", layers=tuple(layers))
    return (LayerFolder(source, tmp_path, NEEDED),)


def features_of_row(number: int) -> list[float]:
    return [number + 0.5, -number, 0.25]


def write_shard(folder: Path, rows: list[tuple], first: int, rasters: tuple[LayerFolder, ...]) -> ShardFolders:
    folder.mkdir()
    table = pd.DataFrame(
        {field.name: [1.0 if pa.types.is_floating(field.type) else None] * len(rows) for field in SHARD_ROW}
    )
    names = ["observation_id", "photo_id", "picture", "species", "latitude", "longitude", "observer", "observed_on"]
    own = pd.DataFrame(rows, columns=names)
    table = table.assign(**{name: own[name] for name in names if name != "picture"})
    table["genus"], table["family"] = own["species"].str.split(" ").str[0], "Rosaceae"
    table["growth_form"] = own["species"].map({"Rosa canina": "shrub"})
    table["observed_on"] = pd.to_datetime(own["observed_on"]).dt.date
    write_table(table, folder / "observations.parquet", SHARD_ROW)
    photos = own[own["photo_id"].notna()]
    write_table(
        pd.DataFrame(
            {
                "photo_id": photos["photo_id"],
                "image": None,
                "status": "ok",
                "sha256": [f"{ord(picture):064x}" for picture in photos["picture"]],
            }
        ),
        folder / "photos.parquet",
        PHOTO,
    )
    features = np.array([features_of_row(first + row) for row in photos.index], dtype=np.float32)
    features[(photos["picture"] == "-").to_numpy()] = np.nan
    back = slice(None, None, -1)  # in another order than the records
    hashes = hashes_of_bytes([bytes.fromhex(f"{ord(picture):064x}") for picture in photos["picture"]][back])
    kept = PhotoFeatures(tuple(photos["photo_id"])[back], hashes, features[back], ("ok",) * len(photos), "e")
    write_features(kept, folder / FEATURES)
    write_points(folder, *model_matrix(sample_covariates(rasters, own["latitude"], own["longitude"]), rasters))
    return ShardFolders(folder, folder, folder)


@pytest.fixture
def shards(tmp_path: Path, rasters: tuple[LayerFolder, ...]) -> list[ShardFolders]:
    return [
        write_shard(tmp_path / "west", WEST, 0, rasters),
        write_shard(tmp_path / "east", EAST, len(WEST), rasters),
    ]


@pytest.fixture
def taxa(tmp_path: Path) -> Path:
    folder = tmp_path / "taxa"
    folder.mkdir()
    write_table(TAXA, folder / "species_traits.parquet", SPECIES_TRAIT)
    records = pd.DataFrame({"taxon": "Rosa canina", "trait": "height", "value": [1.2, 0.8, 1.0]})
    write_table(records, folder / "species_records.parquet", SPECIES_RECORD)
    measured = pd.DataFrame(MEASURED, columns=["species", "latitude", "longitude", "trait", "value"])
    measured = measured.assign(measurement_id=[f"m{k}" for k in range(5)], growth_form=None, source="s")
    write_table(measured, folder / "measurements.parquet", MEASUREMENT)
    forms = pd.DataFrame({"taxon": ["Quercus", "Rosa canina"], "growth_form": ["tree", "shrub"]})
    forms.to_parquet(folder / "growth_forms.parquet")
    return folder


Build = Callable[..., tuple[Path, dict]]


@pytest.fixture
def build(
    tmp_path: Path, shards: list[ShardFolders], taxa: Path, rasters: tuple[LayerFolder, ...], traits: list[Trait]
) -> Build:
    """Return a function that builds the table, by default without records that have no photo."""

    def made(folder: str = "table", **settings: object) -> tuple[Path, dict]:
        destination = tmp_path / folder
        destination.mkdir()
        summary = build_training_table(
            destination, shards=shards, taxa=taxa, rasters=rasters, traits=traits, settings=ModelSettings(**settings)
        )
        return destination, summary

    return made


def test_labelled_photos_and_measurements_stand_side_by_side(build: Build, traits: list[Trait]) -> None:
    folder, summary = build()
    assert summary == {
        "in": {"records": 11, "places with a measurement": 2},
        "out": {"training rows with a photo": 5, "training rows without a photo": 2},
        "lost": {"record without a photo": 5, "row without any label": 1, "row without photo and covariates": 0},
    }
    read = read_training_table(folder, traits)
    rows, training = read.rows, read.training
    assert rows["observation_id"].fillna("-").tolist() == ["o0", "o1", "o2", "o6", "o8", "-", "-"]
    assert rows["photo_id"].fillna("-").tolist() == ["p0", "p1", "p2", "p6", "p8", "-", "-"]
    assert not {"observer", "observed_on", "photo_sha256"} & set(rows.columns)
    training.check(traits)
    assert training.image_features is not None
    expected = [features_of_row(number) for number in (0, 1, 2, 6, 8)]
    np.testing.assert_array_equal(training.image_features[:5], expected)
    assert np.isnan(training.image_features[5:]).all()
    assert training.species == ["Rosa canina"] * 2 + ["Rosa gallica"] * 2 + ["Rosa canina"] + [
        "Quercus robur", "Rosa canina"]  # fmt: skip
    assert training.growth_form == ["shrub", "shrub", None, None, "shrub", "tree", "shrub"]
    assert training.biome == ["tropical", "tropical", "tropical", "arid", None, "tropical", "arid"]
    assert training.covariate_names == NEEDED
    assert np.isnan(training.covariates[4]).all()
    np.testing.assert_allclose(training.covariates[0], [27.4, 28.0, 26.9, *np.log1p(NORTH[3:])], rtol=1e-6)
    np.testing.assert_allclose(training.covariates[6], [21.1, 28.0, 12.9, *np.log1p(SOUTH[3:])], rtol=1e-6)
    assert training.latitude.tolist() == [45, 25, 45, -25, 0, 35, -35]
    assert training.longitude.tolist() == [15, 55, 25, 105, -100, 25, 25]


def test_labels_are_of_the_species_else_the_genus_and_measurements_stand_alone(
    build: Build, traits: list[Trait]
) -> None:
    training = read_training_table(build()[0], traits).training
    nan = np.nan
    np.testing.assert_allclose(
        training.measured, [[nan, nan]] * 5 + [[np.log(20), nan], [np.log(2), np.log(10)]], rtol=1e-12
    )
    np.testing.assert_array_equal(
        training.label_median, [[1.0, 2.5]] * 2 + [[0.5, 2.5]] * 2 + [[1.0, 2.5], [nan, nan], [1.0, 2.5]]
    )
    np.testing.assert_array_equal(training.label_sd[:3], [[0.2, 0.3], [0.2, 0.3], [0.4, 0.3]])
    np.testing.assert_array_equal(training.label_low[:3], [[0.7, 2.0], [0.7, 2.0], [-0.2, 2.0]])
    np.testing.assert_array_equal(training.label_high[:3], [[1.3, 3.0], [1.3, 3.0], [1.1, 3.0]])
    assert training.label_records is None


def test_occasions_join_a_day_of_an_observer_and_one_picture_under_two_ids(build: Build, traits: list[Trait]) -> None:
    occasion = read_training_table(build()[0], traits).training.occasion
    assert occasion[0] == occasion[1]  # the same observer on the same day
    assert occasion[2] == occasion[3]  # the same picture, in two shards
    assert len({*occasion.tolist()}) == 5  # no day is known of o8, and of no observer is none


def test_records_without_a_photo_are_thinned_across_shards(build: Build, traits: list[Trait]) -> None:
    folder, summary = build(train_on_records=True)
    assert summary["in"]["records"] == 11
    assert summary["out"] == {"training rows with a photo": 5, "training rows without a photo": 4}
    assert summary["lost"] == {
        "record without a photo, species and cell seen already": 2,  # o5 and, in the other shard, o10
        "row without any label": 1,
        "row without photo and covariates": 1,
    }
    rows = read_training_table(folder, traits).rows
    assert rows["observation_id"].dropna().tolist() == ["o0", "o1", "o2", "o4", "o6", "o7", "o8"]


def test_a_record_without_a_photo_has_no_weak_label_where_many_were_measured(
    build: Build, traits: list[Trait], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_table, "ENOUGH_PLACES", 2)  # two places of height, one of sla
    training = read_training_table(build(train_on_records=True)[0], traits).training
    with_photo = training.present()[0]
    assert np.isnan(training.label_median[~with_photo, 0]).all()
    assert (training.label_median[~with_photo, 1] == 2.5).sum() == 3
    assert np.isfinite(training.label_median[with_photo]).all()


def test_some_of_the_traits_and_the_records_of_species_are_read(build: Build, traits: list[Trait]) -> None:
    folder, _ = build()
    whole = read_training_table(folder, traits).training
    turned = read_training_table(folder, traits[::-1]).training
    np.testing.assert_array_equal(turned.label_low, whole.label_low[:, ::-1])
    np.testing.assert_array_equal(turned.measured, whole.measured[:, ::-1])
    single = read_training_table(folder, traits[1:], labels="species_records").training
    assert single.label_median.shape == (7, 1)
    assert single.label_records is not None
    assert (single.label_records.position == -1).all()  # no single value of sla is known
    both = read_training_table(folder, traits, labels="species_records").training.label_records
    assert both is not None
    assert both.values.tolist() == [0.8, 1.0, 1.2]
    assert both.position.tolist() == [[0, -1], [0, -1], [-1, -1], [-1, -1], [0, -1], [-1, -1], [0, -1]]


def test_the_same_inputs_give_the_same_bytes(build: Build) -> None:
    one, other = build("one")[0], build("other")[0]
    files = sorted(path.name for path in one.iterdir())
    assert files == ["covariates.json", "covariates.npy", "image.npy", "rows.parquet", "species_records.parquet"]
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in files)


def test_a_trait_that_was_not_built_is_refused(build: Build, traits: list[Trait], catalog: Catalog) -> None:
    folder, _ = build()
    with pytest.raises(TableError, match=r"no labels of \['leaf_n'\]; build it for these"):
        read_training_table(folder, [*traits, catalog.trait("leaf_n")])


@pytest.mark.parametrize("how", ["cut", "absent"])
@pytest.mark.parametrize(
    "name", ["covariates.json", "covariates.npy", "image.npy", "rows.parquet", "species_records.parquet"]
)
def test_a_damaged_table_is_refused(build: Build, traits: list[Trait], name: str, how: str) -> None:
    folder, _ = build()
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if how == "cut":
        (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(TableError, match=r"cannot be read|not a readable"):
        read_training_table(folder, traits)


def test_objects_in_an_array_are_never_loaded(build: Build, traits: list[Trait]) -> None:
    folder, _ = build()
    np.save(folder / "covariates.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(TableError, match="cannot be read"):
        read_training_table(folder, traits)


def test_covariates_in_another_order_are_refused(build: Build, shards: list[ShardFolders], tmp_path: Path) -> None:
    matrix, names = read_points(shards[1].points)
    write_points(shards[1].points, matrix[:, ::-1], names[::-1])
    with pytest.raises(TableError, match="in this order at all records"):
        build()
    matrix, names = read_points(shards[0].points)
    write_points(shards[0].points, matrix[:, ::-1], names[::-1])
    with pytest.raises(TableError, match="in this order at all records and measurements"):
        build("again")


def test_without_shards_or_labels_there_is_nothing_to_train_on(
    build: Build, shards: list[ShardFolders], taxa: Path
) -> None:
    write_table(TAXA.assign(taxon="Abies alba"), taxa / "species_traits.parquet", SPECIES_TRAIT)
    measured = pd.read_parquet(taxa / "measurements.parquet")
    write_table(measured[measured["trait"] == "wood_density"], taxa / "measurements.parquet", MEASUREMENT)
    with pytest.raises(InputError, match=r"none of 6 records has a label for \['height', 'sla'\]"):
        build()
    shards.clear()
    with pytest.raises(InputError, match="found none; widen"):
        build("again")


def test_measurements_of_nothing_are_no_rows(build: Build, traits: list[Trait], taxa: Path) -> None:
    measured = pd.read_parquet(taxa / "measurements.parquet")
    write_table(measured[:0], taxa / "measurements.parquet", MEASUREMENT)
    folder, summary = build()
    assert summary["in"]["places with a measurement"] == 0
    assert summary["out"] == {"training rows with a photo": 5, "training rows without a photo": 0}
    assert np.isnan(read_training_table(folder, traits).training.measured).all()
    assert json.loads((folder / "covariates.json").read_text()) == list(NEEDED)


def test_rows_that_are_not_live_take_no_part(
    build: Build, traits: list[Trait], shards: list[ShardFolders], tmp_path: Path
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    rows = pd.read_parquet(shards[0].shard / "observations.parquet")
    rows = rows[rows["observation_id"].isin(["o0", "o2", "o4"])]
    write_table(rows, live / "observations.parquet", SHARD_ROW)
    shards[:] = [replace(shards[0], live=live), replace(shards[1], live=shards[1].shard)]
    folder, summary = build()
    assert summary["in"]["records"] == 11 - 3
    read = read_training_table(folder, traits)
    assert read.rows["observation_id"].fillna("-").tolist() == ["o0", "o2", "o6", "o8", "-", "-"]
    expected = [features_of_row(number) for number in (0, 2, 6, 8)]
    np.testing.assert_array_equal(read.training.image_features[:4], expected)


def test_rows_take_the_names_that_they_have_in_the_live_view(
    build: Build, traits: list[Trait], shards: list[ShardFolders], tmp_path: Path
) -> None:
    before, _ = build()
    plain = read_training_table(before, traits).rows.set_index("observation_id")
    before.rename(tmp_path / "before")
    live = tmp_path / "live"
    live.mkdir()
    rows = pd.read_parquet(shards[0].shard / "observations.parquet")
    renamed = (rows["observation_id"] == "o0").to_numpy()
    rows.loc[renamed, ["species", "genus", "family"]] = ["herb sp.", None, None]
    rows.loc[renamed, "growth_form"] = "herb"
    write_table(rows, live / "observations.parquet", SHARD_ROW)
    shards[:] = [replace(shards[0], live=live), shards[1]]
    folder, summary = build()
    named = read_training_table(folder, traits).rows.set_index("observation_id")
    assert "o0" in plain.index
    assert "o0" not in named.index  # no label is known of it any more
    assert summary["lost"]["row without any label"] >= 1
    others = plain.index.dropna().drop("o0")
    pd.testing.assert_frame_equal(named.loc[others], plain.loc[others])
