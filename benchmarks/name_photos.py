"""Long-tailed photos of virtual plants for benchmarks of names: drawn, encoded by a frozen encoder and cached.

A world of 400 species is drawn, and of those with enough records the 130 that look least alike: individuals of a
species differ half as much as all plants do, so that most species of a world could not be told apart by any method.
Held out as unknown are a few single species of known genera, whole genera of known families, and whole families. The
others are known, and their training photos form a long tail in the order of how often observers record them: the
species at position j of k has most · r^(-j / (k - 1)) of them, with r the imbalance. Validation and test photos are
balanced over species. There is one photo per record, so that no plant is in two parts. Useless, corrupt and misnamed
photos are left out: labels are the true species. Photos without a plant stand beside them.

Of each training photo there is an altered copy, cropped and mirrored, as is customary, and of species in the tail
further ones that are also mixed with altered copies of themselves (AugMix).

    python benchmarks/name_photos.py folder [seed]
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from data_catalog import load_catalog
from data_catalog.profile import WorldSettings
from plant_traits.model.efficientnet import EfficientNetLite0, folded, load_efficientnet_lite0
from plant_traits.model.preprocessing import EFFICIENTNET_LITE
from plant_traits.simulation.flora import build_flora
from plant_traits.simulation.geography import build_cities
from plant_traits.simulation.observers import build_observers
from plant_traits.simulation.photography.picture import Picture, render, useless
from plant_traits.simulation.planet import build_planet
from plant_traits.simulation.records import Sightings, draw_sightings
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import build_trait
from plant_traits.simulation.world import _pictures
from plant_traits.taxa.taxonet.augmentation import augment, crop_and_flip
from plant_traits.taxa.taxonet.recall import TAIL_BELOW

SPECIES, CHOSEN, MOST, IMBALANCE = 400, 130, 250, 250
HELD_OUT = {"unknown family": 6, "unknown genus": 6, "unknown species": 8}
"""Least number of species held out at each rank."""
VALIDATION, TEST, OF_UNKNOWN = 10, 16, 16
"""Photos per species."""
WITHOUT_PLANT = {"no plant": 200, "noise": 60}
MIXED = 8
"""AugMix copies of a training photo of a species in the tail."""
SIZE = 224
_BATCH = 32


@dataclass(frozen=True)
class NamePhotos:
    """Cached features and what they show.

    Attributes:
        rows: one row per photo: part (train, validation, test, one of ``HELD_OUT``, one of ``WITHOUT_PLANT``), species,
            genus, family, growth_form, label (position among the known species, most photographed first; -1 for
            others), latitude, longitude.
        features: (n, d) of the photos as they are: ``PARTS_OF_FEATURES`` beside each other.
        copy_of: (m,) row of the training photo that each altered copy shows.
        mixed: (m,) whether the copy was mixed (AugMix) beyond being cropped and mirrored.
        copies: (m, d) features of the altered copies.
    """

    rows: pd.DataFrame
    features: npt.NDArray[np.float32]
    copy_of: npt.NDArray[np.int64]
    mixed: npt.NDArray[np.bool_]
    copies: npt.NDArray[np.float32]


PARTS_OF_FEATURES = {"whole": 1280, "centre": 1280, "stage means": 768, "stage deviations": 768}
"""Means of the last map over the photo and over its centre; means and deviations of the maps of stages 2 to 7."""


def load_or_make(folder: Path, seed: int = 7) -> NamePhotos:
    """Read the cached features of a folder, or draw, encode and cache them (about 8 minutes on one core)."""
    table, arrays = folder / f"name-photos-{seed}.csv", folder / f"name-features-{seed}.npz"
    if not (table.exists() and arrays.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        rows, pictures = choose_photos(seed)
        made = encode(rows, pictures, seed)
        rows.to_csv(table, index=False)
        np.savez(arrays, **made)
    with np.load(arrays) as read:
        wide = {name: read[name].astype(np.float32) for name in ("features", "copies")}
        return NamePhotos(pd.read_csv(table), wide["features"], read["copy_of"], read["mixed"], wide["copies"])


def choose_photos(seed: int) -> tuple[pd.DataFrame, list[Picture]]:
    """Draw a world and choose a long-tailed set of its photos; rows beyond the pictures show no plant."""
    settings = WorldSettings(seed=seed, species=SPECIES, photos=400_000, observers=800)
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
    distinct = _least_alike(flora.species, sightings.records, np.flatnonzero(count >= 2 * (VALIDATION + TEST)))
    ranked = distinct[np.argsort(-count[distinct], kind="stable")]
    held_out = _held_out(flora.species.iloc[ranked], rng)
    known = ranked[~np.isin(ranked, np.concatenate(list(held_out.values())))]
    wanted = np.maximum(np.round(MOST * IMBALANCE ** (-np.arange(len(known)) / (len(known) - 1))), 1).astype(int)
    parts = []
    for position, species in enumerate(known):
        own = rng.permutation(np.flatnonzero(record == species))
        sizes = {"test": TEST, "validation": VALIDATION, "train": wanted[position]}
        start = 0
        for part, size in sizes.items():
            parts += [(row, part, position) for row in own[start : start + size]]
            start += size
    for part, group in held_out.items():
        for species in group:
            parts += [(row, part, -1) for row in rng.permutation(np.flatnonzero(record == species))[:OF_UNKNOWN]]
    chosen = pd.DataFrame(parts, columns=["record", "part", "label"])
    of = flora.species.iloc[record[chosen["record"]]].reset_index(drop=True)
    places = sightings.records.iloc[chosen["record"]][["true_latitude", "true_longitude"]].reset_index(drop=True)
    names = of[["species", "genus", "family", "growth_form"]]
    rows = pd.concat([chosen, names, places.set_axis(["latitude", "longitude"], axis=1)], axis=1)
    photos = pd.DataFrame({"record": chosen["record"], "copy_of": np.arange(len(chosen))})
    pictures = _pictures(seed, planet, flora, models, observers, Sightings(sightings.records, photos), ())
    others = [(-1, part, -1) for part, size in WITHOUT_PLANT.items() for _ in range(size)]
    return pd.concat([rows, pd.DataFrame(others, columns=["record", "part", "label"])], ignore_index=True), pictures


def _least_alike(
    species: pd.DataFrame, records: pd.DataFrame, candidates: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Choose species one by one, each the farthest from those chosen before in what a photo can show."""
    index = records["true_species_index"].to_numpy()
    traits = records[["true_height", "true_leaf_area", "true_sla", "true_leaf_n"]]
    within = np.sqrt(traits.groupby(index).var().mean())
    typical = (traits.groupby(index).mean() / within).reindex(range(len(species))).to_numpy() / 1.3
    of_habit = 20.0 * pd.get_dummies(species["habit"]).to_numpy(dtype=np.float64)
    in_flower = (species["colourful"] > 0.25).to_numpy()
    hue = 2 * np.pi * 0.62 * species["flower"].to_numpy()
    flower = 6.0 * in_flower * np.stack([np.cos(hue), np.sin(hue)])
    woody = species["habit"].isin(["tree", "shrub"]).to_numpy()
    form = np.stack([4.0 * species["colourful"].to_numpy(), 3.0 * (0.3 + woody) * species["crown"].to_numpy()])
    looks = np.concatenate([typical, of_habit, flower.T, form.T], axis=1)[candidates]
    chosen = [int(np.bincount(index, minlength=len(species))[candidates].argmax())]
    nearest = np.full(len(candidates), np.inf)
    while len(chosen) < CHOSEN:
        nearest = np.minimum(nearest, ((looks - looks[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    return candidates[chosen]


def _held_out(species: pd.DataFrame, rng: np.random.Generator) -> dict[str, npt.NDArray[np.int64]]:
    """Take families, then genera, then species at random, until each rank has enough; return positions of species."""
    left, found = species, {}
    for (part, least), rank in zip(HELD_OUT.items(), ("family", "genus", "species"), strict=True):
        above = {"family": None, "genus": "family", "species": "genus"}[rank]
        # What is taken leaves a sibling behind, so that it is unknown at this rank and known at the one above.
        open_to = left if above is None else left[left.groupby(above)[rank].transform("nunique") > 1]
        taken: list[int] = []
        for taxon in rng.permutation(open_to[rank].unique()):
            own = left[left[rank] == taxon]
            siblings = above is None or (left[left[above] == own[above].iloc[0]][rank].nunique() > 1)
            if len(taken) < least and siblings:
                taken += own.index.tolist()
                left = left.drop(own.index)
        found[part] = np.array(taken)
    return found


class StagePooled:
    """EfficientNet-Lite0 with what its earlier stages saw: ``PARTS_OF_FEATURES`` of each photo, in one pass."""

    def __init__(self) -> None:
        self.network: EfficientNetLite0 = folded(load_efficientnet_lite0()).eval()

    def encode(self, images: list[Image.Image]) -> npt.NDArray[np.float32]:
        """Return (n, 4096) features of RGB images."""
        pixels = np.stack([EFFICIENTNET_LITE.apply(image) for image in images])
        with torch.inference_mode():
            x = torch.from_numpy(pixels).contiguous(memory_format=torch.channels_last)
            return self._pooled(x).numpy()

    def _pooled(self, pixels: Tensor) -> Tensor:
        network = self.network
        x = functional.relu6(network._bn0(network._conv_stem(pixels)))
        means, deviations = [], []
        blocks = list(network._blocks)
        for number, block in enumerate(blocks):
            x = block(x)
            last = number + 1 == len(blocks) or not blocks[number + 1].residual
            if last and number > 0:
                means.append(x.mean(dim=(2, 3)))
                deviations.append(x.std(dim=(2, 3)))
        x = functional.relu6(network._bn1(network._conv_head(x)))
        return torch.cat([x.mean(dim=(2, 3)), x[:, :, 2:5, 2:5].mean(dim=(2, 3)), *means, *deviations], dim=1)


def encode(rows: pd.DataFrame, pictures: list[Picture], seed: int) -> dict[str, npt.NDArray[np.generic]]:
    """Render and encode every photo, and altered copies of the training photos."""
    encoder = StagePooled()
    train = (rows["part"] == "train").to_numpy()
    label = rows["label"].to_numpy()
    counts = np.bincount(label[train])
    features = np.empty((len(rows), sum(PARTS_OF_FEATURES.values())), dtype=np.float16)
    copy_of: list[int] = []
    mixed: list[bool] = []
    copies: list[npt.NDArray[np.float16]] = []
    started = time.perf_counter()
    for start in range(0, len(rows), _BATCH):
        part = np.arange(start, min(start + _BATCH, len(rows)))
        images = [_photo(rows["part"].iloc[k], pictures, int(k), seed) for k in part]
        features[part] = encoder.encode(images)
        altered: list[Image.Image] = []
        for k, image in zip(part, images, strict=True):
            if train[k]:
                many = MIXED if counts[label[k]] < TAIL_BELOW else 0
                altered += _copies(image, many, stream(seed, "altered", int(k)))
                copy_of += [int(k)] * (many + 1)
                mixed += [False] + [True] * many
        copies += [encoder.encode(altered[x : x + _BATCH]).astype(np.float16) for x in range(0, len(altered), _BATCH)]
        if (start // _BATCH) % 20 == 0:
            print(f"{start} of {len(rows)} photos, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return {
        "features": features,
        "copy_of": np.array(copy_of),
        "mixed": np.array(mixed),
        "copies": np.concatenate(copies),
    }


def _photo(part: str, pictures: list[Picture], number: int, seed: int) -> Image.Image:
    if part == "noise":
        rng = stream(seed, "noise", number)
        grain = int(rng.choice([1, 2, 4, 8, 16, 32]))
        pixels = rng.integers(0, 256, (-(-SIZE // grain), -(-SIZE // grain), 3), dtype=np.uint8)
        return Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.NEAREST)
    data = render(pictures[number], SIZE) if number < len(pictures) else useless(seed + number, SIZE)
    return Image.open(io.BytesIO(data)).convert("RGB")


def _copies(image: Image.Image, mixed: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    yield crop_and_flip(image, rng)
    for _ in range(mixed):
        yield augment(crop_and_flip(image, rng), rng)


if __name__ == "__main__":
    made = load_or_make(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:3]))
    print(made.rows["part"].value_counts().to_string())
    trained = made.rows[made.rows["part"] == "train"]["label"].value_counts()
    print(f"{trained.size} known species, {trained.max()} to {trained.min()} training photos")
