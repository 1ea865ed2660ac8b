"""Names learned from a set of labelled images in the layout of Pl@ntNet-300K."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from plant_traits.model.encoders import load_encoder
from plant_traits.stages.train_names import train_names_on_images
from plant_traits.taxa.gate.cross_fitted import load_cross_fitted
from plant_traits.taxa.gate.fitting import CrossFitting

SPECIES = {"11": "Acer rubrum L.", "12": "Rosa alba L.", "13": "Poa annua L."}
COLOURS = {"11": (200, 40, 40), "12": (40, 200, 40), "13": (40, 40, 200)}


def write_set(folder: Path) -> None:
    """Write 45 small images of three species by fifteen authors, and name one that is not there."""
    rng = np.random.default_rng(1)
    metadata = {}
    for number in range(46):
        key = list(SPECIES)[number % 3]
        metadata[f"i{number}"] = {
            "species_id": key, "obs_id": f"o{number}", "organ": "leaf", "author": f"author {number // 3}",
            "license": "cc-by-sa", "split": "train",
        }  # fmt: skip
        if number == 45:
            continue
        path = folder / "images" / "train" / key / f"i{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(np.array(COLOURS[key]) + rng.normal(0, 30, (48, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    (folder / "plantnet300K_metadata.json").write_text(json.dumps(metadata))
    (folder / "plantnet300K_species_id_2_name.json").write_text(json.dumps(SPECIES))


def test_names_are_learned_from_labelled_images(tmp_path: Path) -> None:
    images, made = tmp_path / "set", tmp_path / "made"
    images.mkdir()
    made.mkdir()
    write_set(images)
    how = CrossFitting()
    small = replace(how.fit.how, epochs=4, hidden=0, embedding=8, learning_rate=0.01)
    told = train_names_on_images(
        made,
        images=images,
        layout="plantnet300k",
        encoder="efficientnet-lite0",
        location=None,
        growth_forms=None,
        how=replace(how, folds=3, fit=replace(how.fit, how=small)),
        photos_per_species=12,
        device="cpu",
    )
    assert told["in"]["images"] == 46
    assert told["out"] == {"photos that names are learned from": 36, "species": 3}
    assert told["lost"]["image: no image"] == 1
    assert told["lost"]["image beyond the most of a species"] == 9
    names = load_cross_fitted(made)
    assert names.encoder_identity == load_encoder("efficientnet-lite0", None).identity
    assert names.taxonomy["species"].tolist() == ["Acer rubrum", "Poa annua", "Rosa alba"]
    assert told["metrics"]["held-out observations named as labelled, species"] > 0.6
