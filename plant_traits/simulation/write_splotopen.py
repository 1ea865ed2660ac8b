"""Write vegetation plots as sPlotOpen's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.simulation.flora import Flora
from plant_traits.simulation.geography import country_of, is_land
from plant_traits.simulation.planet import Planet
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import TraitModel
from plant_traits.traits import from_working

_REAL_CWM = ("LeafArea", "StemDens", "SLA", "LeafC_perdrymass", "LeafN", "LeafP", "PlantHeight", "SeedMass",
             "SeedLength", "LDMC", "LeafNperArea", "LeafNPratio", "Leaf_delta_15N", "SeedNumRepUnit", "LeafFreshMass",
             "StemCondDens", "DispUnitLength", "StemCondLength")  # fmt: skip
_COLUMN = {"height": "PlantHeight", "leaf_area": "LeafArea", "sla": "SLA", "leaf_n": "LeafN", "leaf_p": "LeafP",
           "ldmc": "LDMC", "wood_density": "StemDens", "seed_mass": "SeedMass"}  # fmt: skip
_MEASUREMENT_SD = 0.05
_BIOMES = ("Tropics", "Subtropics", "Temperate", "Boreal", "Alpine")


def write_splotopen(
    seed: int, planet: Planet, flora: Flora, models: Sequence[TraitModel], count: int, folder: Path
) -> int:
    """Write header, composition and community-weighted means of plots all over the land, denser in some countries.

    A plot's mean is the cover-weighted mean of the logarithms of its plants' true values with a small measurement
    error; real sPlotOpen uses species' values instead.

    Args:
        seed: of the world.
        planet: where plots lie.
        flora: who grows there.
        models: traits of the means.
        count: number of plots.
        folder: receives the three tables.

    Returns:
        The number of rows of the composition table.
    """
    rng = stream(seed, "plots")
    latitude, longitude = _places(rng, planet, count)
    header, ids = _header(rng, planet, latitude, longitude)
    plot, species, cover = _composition(rng, planet, flora, latitude, longitude)
    composition = pd.DataFrame(
        {
            "PlotObservationID": ids[plot],
            "Species": flora.species["species"].to_numpy()[species],
            "Original_species": flora.species["species"].to_numpy()[species],
            "Original_abundance": (100 * cover).round(2),
            "Abundance_scale": "CoverPerc",
            "Relative_cover": cover.round(6),
        }
    )
    means = pd.DataFrame({"PlotObservationID": ids})
    means["TraitCoverage_cover"] = rng.beta(12, 1.5, count).round(4)
    means["Species_richness"] = np.bincount(plot, minlength=count)
    means["TraitCoverage_pa"] = rng.beta(12, 1.5, count).round(4)
    values = {}
    for model in models:
        drawn = model.draw(stream(seed, "plots", model.trait.id), species, latitude[plot], longitude[plot])
        plant = _logarithm(model, drawn)
        mean = np.bincount(plot, cover * plant, minlength=count)
        variance = np.bincount(plot, cover * (plant - mean[plot]) ** 2, minlength=count)
        error = rng.normal(0, _MEASUREMENT_SD, count)
        values[_COLUMN.get(model.trait.id, model.trait.id)] = (mean + error, variance)
    names = [*_REAL_CWM, *(name for name in values if name not in _REAL_CWM)]
    for suffix, part in (("CWM", 0), ("CWV", 1)):
        for name in names:
            means[f"{name}_{suffix}"] = values[name][part].round(6) if name in values else np.nan
    for name, table in (("header(3)", header), ("DT(2)", composition), ("CWM_CWV(2)", means)):
        table.to_csv(folder / f"sPlotOpen_{name}.txt", sep="\t", index=False, na_rep="NA", lineterminator="\n")
    return len(composition)


def _logarithm(model: TraitModel, working: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return natural logarithms, which sPlotOpen averages whatever the trait; NaN for what has none."""
    if model.trait.working_space == "ln":
        return working
    natural = from_working(model.trait, working)
    return np.log(np.where(natural > 0, natural, np.nan))


def _places(
    rng: np.random.Generator, planet: Planet, count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    cell = np.flatnonzero(planet.land.ravel())
    latitude, longitude = planet.grid.centre_of(cell)
    weight = np.cos(np.deg2rad(latitude)) * np.where((latitude > 30) & (latitude < 65), 3.0, 1.0)
    # plots come in campaigns
    campaign = rng.choice(cell.size, max(4, count // 4), p=weight / weight.sum())
    centre = rng.choice(campaign, 3 * count)
    lat = latitude[centre] + rng.normal(0, 0.6, centre.size)
    lon = longitude[centre] + rng.normal(0, 0.6, centre.size)
    good = np.flatnonzero((np.abs(lon) < 180) & (np.abs(lat) < 89) & is_land(lat, np.clip(lon, -180, 179.9)))[:count]
    if good.size < count:  # campaigns on small islands: fill up from cell centres
        rest = rng.choice(cell.size, count - good.size)
        return np.r_[lat[good], latitude[rest]].round(5), np.r_[lon[good], longitude[rest]].round(5)
    return lat[good].round(5), lon[good].round(5)


def _header(
    rng: np.random.Generator, planet: Planet, latitude: npt.NDArray[np.float64], longitude: npt.NDArray[np.float64]
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    count = latitude.size
    ids = 10_000 + np.cumsum(rng.integers(1, 9, count))
    warmth = planet.sample("bio1", latitude, longitude)
    biome = np.array(_BIOMES)[np.digitize(-warmth, [-22, -16, -6, 1])]
    uncertainty = rng.lognormal(5.5, 1.2, count).round()
    uncertainty[rng.random(count) < 0.02] = 80_000.0
    year = rng.integers(1975, 2018, count)
    forest = rng.random(count) < 0.5
    resample = {f"Resample_{k}": rng.random(count) < 0.5 for k in (1, 2, 3)}
    header = pd.DataFrame(
        {
            "PlotObservationID": ids,
            "GIVD_ID": "00-RF-001",
            "Dataset": "Virtual plots",
            "Continent": "NA",
            "Country": country_of(latitude, longitude),
            "Biome": biome,
            "Date_of_recording": [f"{y}-07-01" for y in year],
            "Latitude": latitude,
            "Longitude": longitude,
            "Location_uncertainty": np.where(rng.random(count) < 0.1, np.nan, uncertainty),
            "Releve_area": rng.choice([1.0, 16.0, 100.0, 400.0], count),
            "is_forest": np.where(forest, "TRUE", "FALSE"),
            **{name: np.where(value, "TRUE", "FALSE") for name, value in resample.items()},
        }
    )
    return header, ids


def _composition(
    rng: np.random.Generator,
    planet: Planet,
    flora: Flora,
    latitude: npt.NDArray[np.float64],
    longitude: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return plot, species and relative cover of every plant population of every plot."""
    row = flora.row_of_cell[planet.grid.cell_of(latitude, longitude)]
    richness = np.clip(rng.poisson(12, latitude.size), 3, flora.share.shape[1])
    # Gumbel top-k: a weighted sample without replacement for every plot at once
    key = np.log(flora.share[row] + 1e-12) + rng.gumbel(size=(latitude.size, flora.share.shape[1]))
    order = np.argsort(-key, axis=1)[:, : int(richness.max())]
    kept = np.arange(order.shape[1])[None, :] < richness[:, None]
    plot, place = np.nonzero(kept)
    cover = rng.gamma(0.8, 1.0, plot.size) + 0.01
    cover /= np.bincount(plot, cover)[plot]
    return plot, order[plot, place], cover
