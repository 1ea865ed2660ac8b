"""How well frozen features tell the species of the real photos apart: leave-one-out nearest neighbour.

Every photo of the folder `photos/inat_ucsc` of the real data takes the species of its nearest neighbour by cosine
similarity, photos of its own observation excluded. Chance is what a neighbour drawn at random would reach. Prints one
line per encoder.

    python benchmarks/photo_features.py DIR dinov2-small efficientnet-lite0 dinov2-small+efficientnet-lite0
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.model.encoders import load_encoder
from plant_traits.model.features import encode_photos


def nearest_neighbour_accuracy(
    features: npt.NDArray[np.float32], species: npt.NDArray[np.str_], observation: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Return the share of photos whose nearest neighbour is of their species, and that of a random neighbour."""
    centred = features - features.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    likeness = unit @ unit.T
    allowed = observation[:, None] != observation[None, :]
    same = species[:, None] == species[None, :]
    nearest = np.where(allowed, likeness, -np.inf).argmax(axis=1)
    chance = (same & allowed).sum(axis=1) / allowed.sum(axis=1)
    return float((species[nearest] == species).mean()), float(chance.mean())


def main(data: str, names: list[str]) -> None:
    """Encode the photos and print each encoder's accuracy."""
    folder = Path(data) / "photos"
    table = pd.read_csv(folder / "inat_ucsc.csv")
    table = table[[(folder / "inat_ucsc" / name).is_file() for name in table["img_name"]]]
    files = [folder / "inat_ucsc" / name for name in table["img_name"]]
    for name in names:
        encoder = load_encoder(name)
        started = time.perf_counter()
        encoded = encode_photos([path.name for path in files], (path.read_bytes() for path in files), encoder)
        seconds = time.perf_counter() - started
        usable = np.array([status == "ok" for status in encoded.status])
        species = table["scientific_name"].to_numpy(dtype=str)[usable]
        observation = table["iNat ID"].to_numpy(dtype=np.int64)[usable]
        accuracy, chance = nearest_neighbour_accuracy(encoded.features[usable], species, observation)
        print(
            f"{name}: {usable.sum()} of {len(usable)} photos, {len(set(species))} species, "
            f"1-NN accuracy {accuracy:.3f}, chance {chance:.3f}, {usable.sum() / seconds:.1f} photos/s"
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or ["dinov2-small"])
