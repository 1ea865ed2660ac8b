"""Biomes from bioclimatic variables: known places, each rule at its threshold, missing values, and a published map."""

from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio

from data_catalog import Catalog
from plant_traits.covariates.biomes import AS_LOGARITHM, BIOMES, NEEDED, biomes, biomes_of_matrix
from plant_traits.covariates.cube import LayerFolder, model_matrix
from plant_traits.covariates.layers import open_layer
from plant_traits.errors import InputError

# WorldClim 1.4 at 10': annual mean, warmest and coldest quarter (°C); a year's, warmest and coldest quarter's mm.
PLACES = {
    "Manaus": ((27.4, 28.0, 26.9, 2165, 280, 811), "tropical"),
    "Mumbai": ((27.0, 29.5, 23.9, 2798, 526, 2), "tropical"),
    "Tamanrasset, Sahara": ((21.1, 28.0, 12.9, 43, 17, 5), "arid"),
    "Alice Springs": ((20.9, 28.1, 12.7, 281, 111, 42), "arid"),
    "Lhasa": ((5.8, 13.7, -2.7, 378, 288, 2), "arid"),
    "London": ((10.7, 17.2, 4.8, 641, 152, 162), "temperate"),
    "Perth": ((17.4, 23.5, 12.2, 870, 48, 502), "temperate"),
    "Yakutsk": ((-9.8, 16.3, -38.2, 244, 114, 29), "continental"),
    "Moscow": ((4.9, 17.3, -7.9, 678, 243, 130), "continental"),
    "Greenland ice": ((-20.7, -7.7, -30.9, 1225, 269, 301), "polar"),
    "Utqiagvik": ((-12.3, 3.2, -26.6, 117, 58, 12), "polar"),
}


def climate(rows: npt.ArrayLike) -> dict[str, npt.NDArray[np.float64]]:
    """Return rows of the six values needed as layers."""
    return dict(zip(NEEDED, np.asarray(rows, dtype=np.float64).T, strict=True))


def biome(*values: float) -> str | None:
    return cast("str | None", biomes(climate([values]))[0])


def test_known_places() -> None:
    found = biomes(climate([values for values, _ in PLACES.values()]))
    assert dict(zip(PLACES, found, strict=True)) == {place: expected for place, (_, expected) in PLACES.items()}


def test_precipitation_of_a_month_or_of_a_quarter_gives_the_same_biome() -> None:
    quarterly = climate([values for values, _ in PLACES.values()])
    monthly = quarterly | {name: quarterly[name] / 3 for name in ("bio18", "bio19")}
    assert biomes(monthly).tolist() == biomes(quarterly).tolist()


@pytest.mark.parametrize(
    ("share_in_warm_quarter", "driest_not_arid"),
    [(0.5, 340), (0.78, 340), (0.79, 480), (0.22, 340), (0.21, 200)],
)
def test_the_arid_threshold_follows_the_season_of_the_rain(share_in_warm_quarter: float, driest_not_arid: int) -> None:
    # At 10 °C it is 10 × (2 × 10 + 14), + 28 or + 0 mm; 70 % of a half-year are 78.3 % of the two quarters.
    season = (1000 * share_in_warm_quarter, 1000 * (1 - share_in_warm_quarter))
    assert biome(10, 18, 4, driest_not_arid, *season) == "temperate"
    assert biome(10, 18, 4, driest_not_arid - 1, *season) == "arid"


def test_the_thresholds_of_temperature_are_those_of_months() -> None:
    # A month departs from the annual mean by 3 / (1 + √3) = 1.0981 times as much as its quarter.
    wet = (3000, 800, 700)
    assert biome(28.0, 30, 18.90, *wet) == "tropical"  # coldest month 18.007 °C
    assert biome(28.0, 30, 18.89, *wet) == "temperate"  # 17.996 °C
    assert biome(10.0, 18, 0.90, *wet) == "temperate"  # coldest month 0.007 °C
    assert biome(10.0, 18, 0.89, *wet) == "continental"  # -0.004 °C
    assert biome(0.0, 9.11, -9, *wet) == "continental"  # warmest month 10.004 °C
    assert biome(0.0, 9.10, -9, *wet) == "polar"  # 9.993 °C


def test_dryness_comes_first() -> None:
    assert biome(27, 29, 24, 300, 100, 50) == "arid"  # hot all year
    assert biome(-5, 6, -16, 50, 40, 1) == "arid"  # a cold desert
    assert biome(-25, -10, -40, 0, 0, 0) == "polar"  # below -14 °C no climate is dry


def test_a_place_without_precipitation_has_no_rainy_season() -> None:
    assert biome(20, 28, 12, 0, 0, 0) == "arid"


@pytest.mark.parametrize("layer", NEEDED)
def test_a_missing_value_leaves_the_biome_unknown(layer: str) -> None:
    values = climate([PLACES["London"][0], PLACES["Manaus"][0]])
    values[layer][0] = np.nan
    assert biomes(values).tolist() == [None, "tropical"]
    del values[layer]
    assert biomes(values).tolist() == [None, None]


def test_layers_of_a_grid_give_a_grid() -> None:
    grid = {name: np.tile(values, (2, 3)) for name, values in climate([PLACES["London"][0]]).items()}
    assert biomes(grid).tolist() == [["temperate"] * 3] * 2
    assert biomes({"clay": np.zeros((2, 3))}).tolist() == [[None] * 3] * 2
    assert biomes({}).shape == (0,)
    assert biomes({name: np.array([]) for name in NEEDED}).shape == (0,)


def test_layers_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"one shape, found \[\(1,\), \(2,\)\]"):
        biomes(climate([PLACES["London"][0]]) | {"bio12": np.zeros(2)})


def test_layers_that_two_sources_share_are_those_of_one() -> None:
    yakutsk, manaus = climate([PLACES["Yakutsk"][0]]), climate([PLACES["Manaus"][0]])
    both = {f"chelsa-2.1.{name}": x for name, x in yakutsk.items()} | {f"other.{name}": x for name, x in manaus.items()}
    assert biomes(both).tolist() == ["continental"]
    assert biomes(dict(reversed(both.items()))).tolist() == ["tropical"]
    alone = {name: x for name, x in yakutsk.items() if name != "bio1"}  # bio1 alone is shared
    assert biomes({"chelsa-2.1.bio1": yakutsk["bio1"], "other.bio1": manaus["bio1"]} | alone).tolist() == [
        "continental"
    ]
    assert biomes({"symbio1": yakutsk["bio1"]} | alone).tolist() == [None]


@pytest.mark.parametrize("source_id", ["chelsa-2.1", "worldclim-1.4"])
def test_the_matrix_of_a_model_gives_the_biomes_of_its_values(catalog: Catalog, source_id: str) -> None:
    source = catalog.source(source_id)
    layers = tuple(layer.id for layer in source.layers)
    assert {layer.id for layer in source.layers if layer.log}.intersection(NEEDED) == set(AS_LOGARITHM)
    values = pd.DataFrame(climate([values for values, _ in PLACES.values()])).reindex(columns=list(layers))
    values.loc[0, "bio12"] = np.nan
    matrix, names = model_matrix(values, [LayerFolder(source, Path("unread"), layers)])
    encoded = np.concatenate([matrix, np.full((len(matrix), 2), 99.0, np.float32)], axis=1)
    found = biomes_of_matrix(encoded, (*names, "geoclip.0a1b2c3d.0", "geoclip.0a1b2c3d.1"))
    assert found.tolist() == [None, *(expected for _, expected in list(PLACES.values())[1:])]


def test_a_model_without_climate_knows_no_biomes() -> None:
    assert biomes_of_matrix(np.zeros((2, 1), np.float32), ("geoclip.0a1b2c3d.0",)).tolist() == [None, None]
    assert biomes_of_matrix(np.zeros((0, 6), np.float32), NEEDED).shape == (0,)


def test_a_matrix_that_cannot_be_a_models_is_refused() -> None:
    plain = np.array([PLACES["London"][0]])
    with pytest.raises(InputError, match=r"bio12 as ln\(1 \+ mm\), at most 9.6, found 641.0"):
        biomes_of_matrix(plain, NEEDED)
    with pytest.raises(InputError, match=r"5 columns.*shape \(1, 6\)"):
        biomes_of_matrix(plain, NEEDED[:5])


@pytest.mark.real
def test_agreement_with_a_published_map(real_data: Path, catalog: Catalog) -> None:
    """Kottek et al.'s Köppen-Geiger map rests on other climate data and divides C from D at -3 °C."""
    source = catalog.source("worldclim-1.4")
    values = {}
    for name in NEEDED:
        layer = source.layer(name)
        with open_layer(real_data / "climate" / "bioclim_10arcmin" / layer.file, layer) as raster:
            assert raster.shape == (900, 2160)
            values[name] = raster.read()[0]
    found = biomes(values)
    with rasterio.open(real_data / "land" / "koeppen-geiger.tif") as raster:
        published = raster.read(1)[0:1800:2, ::2].astype(int)  # one of the four 5' pixels of each 10' pixel
    main = np.repeat(np.array([None, *BIOMES, None], dtype=object), [1, 4, 4, 9, 12, 2, 1])[published]
    both = np.not_equal(found, None) & np.not_equal(main, None)
    weight = np.cos(np.radians(90 - (np.arange(900) + 0.5) / 6))[:, None] * both
    assert (weight * (found == main)).sum() / weight.sum() > 0.88
    for name in ("tropical", "arid", "continental"):
        of_name = weight * (main == name)
        assert (of_name * (found == name)).sum() / of_name.sum() > 0.9, name
