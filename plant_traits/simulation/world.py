"""Build a virtual world: everything a run reads, in the formats of the real services, and the truth behind it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import Source, Trait, WorldSettings, load_catalog
from plant_traits.simulation.dirt import plant_dirt
from plant_traits.simulation.flora import Flora, build_flora
from plant_traits.simulation.geography import build_cities
from plant_traits.simulation.observers import Observers, build_observers
from plant_traits.simulation.photography.picture import Picture, corrupt, render, rotated, useless
from plant_traits.simulation.planet import Planet, build_planet
from plant_traits.simulation.records import Sightings, draw_sightings
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import TraitModel, build_trait
from plant_traits.simulation.world_file import write_world_file
from plant_traits.simulation.write_dwca import write_dwca
from plant_traits.simulation.write_products import write_products
from plant_traits.simulation.write_rasters import write_chelsa, write_grid, write_soilgrids
from plant_traits.simulation.write_splotopen import write_splotopen
from plant_traits.simulation.write_try import write_try
from plant_traits.traits import from_working

STATES = ("ok", "missing", "corrupt", "useless")
_STATE_SHARES = (0.945, 0.015, 0.01, 0.03)
_TURNED = 0.04  # share of photos stored sideways or upside down, with the tag that says so
_MOMENT = (2026, 11, 1, 3, 0, 0)
_BATCH = 64
_DRAWN = ("height", "leaf_area", "leaf_n", "sla")  # the traits a picture shows, and what it shows without them
_TYPICAL = {"height": 1.0, "leaf_area": 900.0, "leaf_n": 20.0, "sla": 15.0}


def build_world(
    settings: WorldSettings,
    traits: Sequence[Trait],
    destination: Path,
    *,
    sources: Mapping[str, Source] | None = None,
    workers: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, int]:
    """Write a world into an empty folder; the same settings and traits give the same bytes.

    ``gbif/`` (Darwin Core archive), ``photos/photos.zip`` (a bucket's mirror), ``try/`` (a release), ``chelsa/``,
    ``soilgrids/``, ``splotopen/``, ``products/`` (maps of two published kinds) and ``truth/``, which only scoring
    reads: ``true_<trait>_05deg_ln.tif`` (community means, working space) and ``records.parquet``. ``world.json`` tells
    the services that stand on the world its seed and species.

    Args:
        settings: seed and sizes.
        traits: the traits its plants have.
        destination: an empty folder.
        sources: the catalogue's sources, which say how rasters are stored; the built-in ones by default.
        workers: processes that draw photos.
        progress: called with (part, finished, total).

    Returns:
        Counts of what was written.
    """
    for name in ("gbif", "photos", "try", "chelsa", "soilgrids", "splotopen", "products", "truth"):
        (destination / name).mkdir()
    seed = settings.seed
    planet = build_planet(seed)
    flora = build_flora(seed, planet, settings.species)
    models = [build_trait(seed, trait, planet, flora) for trait in traits]
    cities = build_cities(stream(seed, "cities"), max(20, settings.observers))
    observers = build_observers(seed, cities, settings.observers)
    sightings = plant_dirt(seed, draw_sightings(settings, planet, flora, cities, observers, models), flora)
    sources = load_catalog().sources if sources is None else sources
    counts = {
        "records": len(sightings.records),
        "photos": len(sightings.photos),
        "plots": settings.plots,
        "species": len(flora.species),
    }
    write_world_file(settings, flora.species, destination)
    identifiers = write_dwca(sightings, flora, destination / "gbif")
    counts["trait rows"] = write_try(seed, planet, flora, models, destination / "try" / "TRY_release.txt")["rows"]
    write_chelsa(planet, sources["chelsa-2.1"], settings.climate_resolution, destination / "chelsa")
    write_soilgrids(planet, sources["soilgrids-2.0"], settings.soil_resolution_m, destination / "soilgrids")
    write_splotopen(seed, planet, flora, models, settings.plots, destination / "splotopen")
    write_products(seed, planet, flora, models, destination / "products")
    for model in models:
        write_grid(model.community(planet, flora), destination / "truth" / f"true_{model.trait.id}_05deg_ln.tif")
    states = stream(seed, "photo states").choice(len(STATES), len(sightings.photos), p=_STATE_SHARES)
    _write_truth(sightings, identifiers, states, destination / "truth" / "records.parquet")
    pictures = _pictures(seed, planet, flora, models, observers, sightings)
    path = destination / "photos" / "photos.zip"
    _write_photos(path, sightings, pictures, states, settings, workers=workers, progress=progress)
    return counts


def _pictures(
    seed: int, planet: Planet, flora: Flora, models: list[TraitModel], observers: Observers, sightings: Sightings
) -> list[Picture]:
    """Describe every photo; a photo that repeats another describes the same picture."""
    record = sightings.records.iloc[sightings.photos["record"].to_numpy()].reset_index(drop=True)
    species = flora.species.iloc[record["true_species_index"].to_numpy()].reset_index(drop=True)
    shown = {name: np.full(len(record), value) for name, value in _TYPICAL.items()}
    for model in models:
        if model.trait.id in _DRAWN:
            shown[model.trait.id] = from_working(model.trait, record[f"true_{model.trait.id}"].to_numpy())
    wet = np.log(planet.sample("bio12", record["true_latitude"], record["true_longitude"]))
    who = record["observer"].to_numpy()
    rng = stream(seed, "framing")
    closeness = 0.6 * observers.closeness[who] + 0.8 * rng.normal(size=len(record))
    seeds = rng.integers(0, 2**31, len(record))
    return [
        Picture(
            habit=str(species["habit"][k]),
            height_m=float(shown["height"][k]),
            leaf_area_mm2=float(shown["leaf_area"][k]),
            leaf_n=float(shown["leaf_n"][k]),
            sla=float(shown["sla"][k]),
            flower_hue=float(species["flower"][k]),
            colourful=float(species["colourful"][k]),
            crown=float(species["crown"][k]),
            closeness=float(closeness[k]),
            care=float(observers.care[who[k]]),
            biome_hue=float(np.clip((wet[k] - 5.0) / 3.0, 0, 1)),
            seed=int(seeds[k]),
        )
        for k in sightings.photos["copy_of"].to_numpy()
    ]


def _write_photos(
    path: Path,
    sightings: Sightings,
    pictures: list[Picture],
    states: npt.NDArray[np.int64],
    settings: WorldSettings,
    *,
    workers: int,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    ids = sightings.photos["photo_id"].tolist()
    present = [k for k, state in enumerate(states) if STATES[state] != "missing"]
    batches = [present[start : start + _BATCH] for start in range(0, len(present), _BATCH)]
    tasks = [[(pictures[k], STATES[states[k]], settings.photo_size) for k in batch] for batch in batches]
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path, "w", zipfile.ZIP_STORED))
        drawn: Iterable[list[bytes]] = map(_draw, tasks)
        if workers > 1:
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
            drawn = pool.map(_draw, tasks)
        for finished, (batch, images) in enumerate(zip(batches, drawn, strict=True), start=1):
            for k, image in zip(batch, images, strict=True):
                archive.writestr(zipfile.ZipInfo(f"photos/{ids[k]}/original.jpg", _MOMENT), image)
            if progress is not None:
                progress("photos", min(finished * _BATCH, len(present)), len(present))


def _draw(tasks: list[tuple[Picture, str, int]]) -> list[bytes]:
    return [_draw_one(picture, state, size) for picture, state, size in tasks]


def _draw_one(picture: Picture, state: str, size: int) -> bytes:
    if state == "useless":
        return useless(picture.seed, size)
    image = render(picture, size)
    if state == "corrupt":
        return corrupt(image, picture.seed)
    chance = np.random.default_rng(picture.seed + 1)
    return rotated(image, int(chance.choice([3, 6]))) if chance.random() < _TURNED else image


def _write_truth(sightings: Sightings, identifiers: pd.DataFrame, states: npt.NDArray[np.int64], path: Path) -> None:
    record = sightings.photos["record"].to_numpy()
    truth = sightings.records.iloc[record].reset_index(drop=True)
    values = [name for name in truth.columns if name.startswith("true_") and not name.endswith("index")]
    table = pd.concat([identifiers.iloc[record].reset_index(drop=True), truth[["planted", *values]]], axis=1).assign(
        photo_id=sightings.photos["photo_id"].astype(str).to_numpy(), photo_state=np.array(STATES)[states]
    )
    table.to_parquet(path, index=False)
