"""Long-tailed photos of virtual plants for benchmarks of names: drawn, encoded by a frozen encoder and cached.

A world of 150 species is drawn, and 30 of those with enough records are held out as unknown. The others are known, and
their training photos form a long tail in the order of how often observers record them: the species at position j of k
has most · r^(-j / (k - 1)) of them, with r the imbalance. Validation and test photos are balanced over species. There
is one photo per record, so that no plant is in two parts. Useless, corrupt and misnamed photos are left out: labels
are the true species.

    python benchmarks/name_photos.py folder [seed]
"""

from __future__ import annotations

import io
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from data_catalog import load_catalog
from data_catalog.profile import WorldSettings
from plant_traits.model.encoders import load_encoder
from plant_traits.simulation.flora import build_flora
from plant_traits.simulation.geography import build_cities
from plant_traits.simulation.observers import build_observers
from plant_traits.simulation.photography.picture import Picture, render
from plant_traits.simulation.planet import build_planet
from plant_traits.simulation.records import Sightings, draw_sightings
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import build_trait
from plant_traits.simulation.world import _pictures
from plant_traits.taxa.taxonet.augmentation import augment

SPECIES, HELD_OUT, MOST, IMBALANCE = 150, 30, 300, 300
VALIDATION, TEST, OF_UNKNOWN = 6, 16, 12
"""Photos per species."""
SIZE = 224
ENCODER = "efficientnet-lite0"
_BATCH = 32


@dataclass(frozen=True)
class NamePhotos:
    """Cached features and what they show.

    Attributes:
        rows: one row per photo: part (train, validation, test, unknown), species, genus, family, growth_form, label
            (position among the known species, most photographed first; -1 for held-out species), latitude, longitude.
        features: (n, d) of the photos as they are.
        altered: (n, d) of one altered copy of each training photo, NaN for the others.
    """

    rows: pd.DataFrame
    features: npt.NDArray[np.float32]
    altered: npt.NDArray[np.float32]


def load_or_make(folder: Path, seed: int = 7) -> NamePhotos:
    """Read the cached features of a folder, or draw, encode and cache them (about 15 minutes on one core)."""
    table, arrays = folder / f"photos-{seed}.csv", folder / f"features-{seed}.npz"
    if not (table.exists() and arrays.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        rows, pictures = choose_photos(seed)
        features, altered = encode(rows, pictures, seed)
        rows.to_csv(table, index=False)
        np.savez(arrays, features=features.astype(np.float16), altered=altered.astype(np.float16))
    with np.load(arrays) as read:
        return NamePhotos(pd.read_csv(table), *(read[name].astype(np.float32) for name in ("features", "altered")))


def choose_photos(seed: int) -> tuple[pd.DataFrame, list[Picture]]:
    """Draw a world and choose a long-tailed set of its photos."""
    settings = WorldSettings(seed=seed, species=SPECIES, photos=200_000, observers=800)
    planet = build_planet(seed)
    flora = build_flora(seed, planet, SPECIES)
    catalog = load_catalog()
    models = [build_trait(seed, catalog.trait(name), planet, flora) for name in catalog.profile("demo").traits]
    cities = build_cities(stream(seed, "cities"), settings.observers)
    observers = build_observers(seed, cities, settings.observers)
    sightings = draw_sightings(settings, planet, flora, cities, observers, models)
    rng = stream(seed, "long tail")
    record = sightings.records["true_species_index"].to_numpy()
    count = np.bincount(record, minlength=SPECIES)
    ranked = np.argsort(-count, kind="stable")
    enough = ranked[count[ranked] >= VALIDATION + TEST + OF_UNKNOWN]
    unknown = rng.permutation(enough)[:HELD_OUT]
    known = enough[~np.isin(enough, unknown)]
    wanted = np.maximum(np.round(MOST * IMBALANCE ** (-np.arange(len(known)) / (len(known) - 1))), 1).astype(int)
    parts = []
    for position, species in enumerate(known):
        own = rng.permutation(np.flatnonzero(record == species))
        sizes = {"test": TEST, "validation": VALIDATION, "train": wanted[position]}
        start = 0
        for part, size in sizes.items():
            parts += [(row, part, position) for row in own[start : start + size]]
            start += size
    parts += [
        (row, "unknown", -1)
        for species in unknown
        for row in rng.permutation(np.flatnonzero(record == species))[:OF_UNKNOWN]
    ]
    chosen = pd.DataFrame(parts, columns=["record", "part", "label"])
    of = flora.species.iloc[record[chosen["record"]]].reset_index(drop=True)
    places = sightings.records.iloc[chosen["record"]][["true_latitude", "true_longitude"]].reset_index(drop=True)
    names = of[["species", "genus", "family", "growth_form"]]
    rows = pd.concat([chosen, names, places.set_axis(["latitude", "longitude"], axis=1)], axis=1)
    photos = pd.DataFrame({"record": chosen["record"], "copy_of": np.arange(len(chosen))})
    pictures = _pictures(seed, planet, flora, models, observers, Sightings(sightings.records, photos), ())
    return rows, pictures


def encode(
    rows: pd.DataFrame, pictures: list[Picture], seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Render and encode every photo, and an altered copy of each training photo."""
    encoder = load_encoder(ENCODER)
    features = np.empty((len(rows), encoder.dimension), dtype=np.float32)
    altered = np.full_like(features, np.nan)
    training = (rows["part"] == "train").to_numpy()
    started = time.perf_counter()
    for start in range(0, len(rows), _BATCH):
        part = np.arange(start, min(start + _BATCH, len(rows)))
        images = [Image.open(io.BytesIO(render(pictures[k], SIZE))).convert("RGB") for k in part]
        features[part] = encoder.encode(images)
        again = [k for k in part if training[k]]
        if again:
            copies = [augment(images[k - start], stream(seed, "altered", int(k))) for k in again]
            altered[again] = encoder.encode(copies)
        if (start // _BATCH) % 50 == 0:
            print(f"{start} of {len(rows)} photos, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return features, altered


if __name__ == "__main__":
    made = load_or_make(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:3]))
    print(made.rows["part"].value_counts().to_string())
    trained = made.rows[made.rows["part"] == "train"]["label"].value_counts()
    print(f"{trained.size} known species, {trained.max()} to {trained.min()} training photos")
