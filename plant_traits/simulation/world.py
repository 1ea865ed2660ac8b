"""Build a virtual world: everything a run reads, in the formats of the real services, and the truth behind it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import Source, Trait, WorldSettings, load_catalog
from plant_traits.simulation.dirt import plant_dirt
from plant_traits.simulation.flora import Flora, build_flora
from plant_traits.simulation.geography import build_cities
from plant_traits.simulation.months import LaterMonth, later_months
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
from plant_traits.simulation.write_truth import write_changes, write_record_truth
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

    ``gbif/`` (Darwin Core archive of the first month, and one of each later month in a folder of its name), ``photos/``
    (a bucket's mirror: ``photos.zip``, and ``<month>.zip`` with what a later month adds), ``try/`` (a release),
    ``chelsa/``, ``soilgrids/``, ``splotopen/``, ``products/`` (maps of two published kinds) and ``truth/``, which only
    scoring reads: ``true_<trait>_05deg_ln.tif`` (community means, working space), ``records.parquet`` and
    ``changes.parquet``. ``world.json`` tells the services that stand on the world its seed and species. The first
    month's files are the same whatever comes later, but for those of ``truth/``.

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
    drawn = draw_sightings(settings, planet, flora, cities, observers, models)
    sightings = plant_dirt(seed, drawn, flora, settings.misidentified)
    months = later_months(settings, planet, flora, cities, observers, models, sightings)
    sources = load_catalog().sources if sources is None else sources
    parts = [(settings.first_month, sightings), *((str(month.month), month.added) for month in months)]
    counts = {
        "records": len(sightings.records),
        "photos": len(sightings.photos),
        "later photos": sum(len(part.photos) for _, part in parts[1:]),
        "plots": settings.plots,
        "species": len(flora.species),
    }
    write_world_file(settings, flora.species, destination)
    identifiers = _write_archives(sightings, months, flora, destination / "gbif")
    counts["trait rows"] = write_try(seed, planet, flora, models, destination / "try" / "TRY_release.txt")["rows"]
    write_chelsa(planet, sources["chelsa-2.1"], settings.climate_resolution, destination / "chelsa")
    write_soilgrids(planet, sources["soilgrids-2.0"], settings.soil_resolution_m, destination / "soilgrids")
    write_splotopen(seed, planet, flora, models, settings.plots, destination / "splotopen")
    write_products(seed, planet, flora, models, destination / "products")
    for model in models:
        write_grid(model.community(planet, flora), destination / "truth" / f"true_{model.trait.id}_05deg_ln.tif")
    kinds = np.array(STATES)
    published, albums = [], []
    for number, (month, part) in enumerate(parts):
        sample = (month,) if number else ()
        states = kinds[stream(seed, "photo states", *sample).choice(len(STATES), len(part.photos), p=_STATE_SHARES)]
        published.append((month, part, states))
        pictures = _pictures(seed, planet, flora, models, observers, part, sample)
        albums.append(_Album(f"{month}.zip" if number else "photos.zip", part.photos["photo_id"], pictures, states))
    _write_photos(destination / "photos", albums, settings.photo_size, workers=workers, progress=progress)
    write_record_truth(published, months, identifiers, destination / "truth" / "records.parquet")
    write_changes(months, identifiers, destination / "truth" / "changes.parquet")
    return counts


def _write_archives(sightings: Sightings, months: Sequence[LaterMonth], flora: Flora, folder: Path) -> pd.DataFrame:
    """Write what GBIF has at the end of every month; return gbifID and occurrenceID by record number."""
    parts = [write_dwca(sightings, flora, folder).set_axis(sightings.records["number"])]
    for month in months:
        (folder / str(month.month)).mkdir()
        told = write_dwca(month.published, flora, folder / str(month.month))
        parts.append(told.set_axis(month.published.records["number"]).loc[month.added.records["number"]])
    return pd.concat(parts)


def _pictures(
    seed: int,
    planet: Planet,
    flora: Flora,
    models: list[TraitModel],
    observers: Observers,
    sightings: Sightings,
    sample: tuple[str, ...],
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
    rng = stream(seed, "framing", *sample)
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


@dataclass(frozen=True)
class _Album:
    """The photos of one zip."""

    name: str
    photo_ids: pd.Series
    pictures: list[Picture]
    states: npt.NDArray[np.str_]

    @property
    def present(self) -> list[int]:
        return [k for k, state in enumerate(self.states) if state != "missing"]


def _write_photos(
    folder: Path,
    albums: Sequence[_Album],
    size: int,
    *,
    workers: int,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    batches = [
        (album, album.present[start : start + _BATCH])
        for album in albums
        for start in range(0, len(album.present), _BATCH)
    ]
    tasks = [[(album.pictures[k], str(album.states[k]), size) for k in batch] for album, batch in batches]
    total = sum(len(batch) for _, batch in batches)
    with ExitStack() as stack:
        zips = {
            album.name: stack.enter_context(zipfile.ZipFile(folder / album.name, "w", zipfile.ZIP_STORED))
            for album in albums
        }
        drawn: Iterable[list[bytes]] = map(_draw, tasks)
        if workers > 1:
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
            drawn = pool.map(_draw, tasks)
        finished = 0
        for (album, batch), images in zip(batches, drawn, strict=True):
            for k, image in zip(batch, images, strict=True):
                name = f"photos/{album.photo_ids.iloc[k]}/original.jpg"
                zips[album.name].writestr(zipfile.ZipInfo(name, _MOMENT), image)
            finished += len(batch)
            if progress is not None:
                progress("photos", finished, total)


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
