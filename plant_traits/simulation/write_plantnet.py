"""Write miniatures of public sets of votes and images in their own layouts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image

from plant_traits.simulation.crowd import Crowd
from plant_traits.simulation.seeds import stream

_FIRST_ID = 1000000000  # of observations
_MISTAKES_OF_MODEL = 0.2


def write_plantnet_votes(
    crowd: Crowd, folder: Path, layout: Literal["first", "second"] = "first", seed: int = 0
) -> None:
    """Write a crowd's votes as a release of Pl@ntNet-CrowdSWE, with a model's votes and some experts' truth.

    Names are followed by authors, as in the release. The model knows two names more than the users.

    Args:
        crowd: the crowd.
        folder: receives the files.
        layout: which of the two releases.
        seed: of the model's mistakes.
    """
    rng = stream(seed, "plantnet votes")
    votes = crowd.votes
    n = len(crowd.truth)
    names = [f"{name} L." for name in crowd.species]
    looked_at = rng.random(n) < 0.3  # by experts
    experts = np.where(looked_at, crowd.truth, -1)
    guess = np.where(rng.random(n) < _MISTAKES_OF_MODEL, rng.integers(0, len(names) + 2, n), crowd.truth)
    score = np.round(rng.uniform(0.02, 1.0, n), 5)
    given: dict[int, dict[str, int]] = {}
    for observation, user, taxon in zip(votes.observation, votes.user, votes.taxon, strict=True):
        given.setdefault(int(observation), {})[str(user)] = int(taxon)
    ids = {task: str(_FIRST_ID + 137 * task) for task in range(n)}
    if layout == "first":
        label = {name: k for k, name in enumerate(names)}
        of_model = label | {f"Novus incognitus {k} DC.": len(names) + k for k in range(2)}
        _write(folder / "answers" / "answers.json", {str(task): given[task] for task in sorted(given)})
        _write(folder / "converters" / "tasks.json", {ids[task]: task for task in range(n)})
        _write(folder / "converters" / "classes.json", label)
        _write(folder / "aggregation" / "ai_classes.json", of_model)
        _write(folder / "aggregation" / "ai_answers.json", {str(task): int(guess[task]) for task in range(n)})
        _write(folder / "aggregation" / "ai_scores.json", {str(task): float(score[task]) for task in range(n)})
        _write(folder / "aggregation" / "k-southwestern-europe.json", [{"species": x, "synonyms": []} for x in names])
        _lines(folder / "answers" / "ground_truth.txt", experts)
        _lines(folder / "aggregation" / "authors.txt", crowd.author)
        return
    unified = sorted([*names, "Novus incognitus 0 DC.", "Novus incognitus 1 DC."])
    place = {name: k for k, name in enumerate(unified)}
    code = np.array([place[name] for name in [*names, "Novus incognitus 0 DC.", "Novus incognitus 1 DC."]])
    human = {ids[task]: {user: str(code[taxon]) for user, taxon in given[task].items()} for task in sorted(given)}
    _write(folder / "votes" / "human_votes.json", human)
    truth = {ids[task]: int(code[experts[task]]) if experts[task] >= 0 else -1 for task in range(n)}
    _write(folder / "votes" / "ground_truth.json", truth)
    _write(folder / "votes" / "ai_votes.json", {ids[task]: str(code[guess[task]]) for task in range(n)})
    _write(folder / "ai_scores" / "ai_scores.json", {ids[task]: float(score[task]) for task in range(n)})
    _write(folder / "converters" / "unified_classes.json", {name: str(k) for name, k in place.items()})
    _write(folder / "converters" / "reverse_unified_classes.json", {str(k): name for name, k in place.items()})
    _write(folder / "converters" / "authors.json", {ids[task]: str(crowd.author[task]) for task in range(n)})


def write_plantnet300k(species: list[str], n_images: int, folder: Path, seed: int = 0) -> pd.DataFrame:
    """Write a miniature of Pl@ntNet-300K: flat images of long-tailed species in three splits.

    Returns:
        What was written: columns ``image_id``, ``class_id``, ``species``, ``split``.
    """
    rng = stream(seed, "plantnet300k")
    ids = {name: str(1355000 + 17 * k) for k, name in enumerate(species)}
    drawn = _long_tailed(rng, len(species), n_images)
    rows, metadata = [], {}
    for k, of_species in enumerate(drawn):
        image_id = f"{int(rng.integers(2**62)):040x}"
        split = str(rng.choice(["train", "val", "test"], p=[0.8, 0.1, 0.1]))
        name = species[int(of_species)]
        metadata[image_id] = {
            "species_id": ids[name],
            "obs_id": str(1000000 + k),
            "organ": str(rng.choice(["flower", "leaf", "habit"])),
            "is_shareable": True,
            "v1_id": str(3000000 + k),
            "author": f"observer {int(rng.integers(20))}",
            "license": "cc-by-sa",
            "split": split,
        }
        _picture(folder / "images" / split / ids[name] / f"{image_id}.jpg", int(of_species))
        rows.append((image_id, ids[name], name, split))
    _write(folder / "plantnet300K_metadata.json", metadata)
    _write(folder / "plantnet300K_species_id_2_name.json", {key: f"{name} L." for name, key in ids.items()})
    return pd.DataFrame(rows, columns=["image_id", "class_id", "species", "split"])


def write_inaturalist2019(species: list[str], n_images: int, folder: Path, seed: int = 0) -> pd.DataFrame:
    """Write a miniature of iNaturalist 2019: the species, and a bird that a reader of plants leaves out.

    Returns:
        What was written: columns ``image_id``, ``class_id``, ``species``, ``split``.
    """
    rng = stream(seed, "inaturalist2019")
    birds = len(species)
    ranks = ("kingdom", "phylum", "class", "order", "family", "genus")
    of_plant = ("Plantae", "Tracheophyta", "Magnoliopsida", "Asterales", "Asteraceae")
    of_bird = ("Animalia", "Chordata", "Aves", "Passeriformes", "Paridae")
    categories = [
        {"id": k, "name": name}
        | dict(zip(ranks, (*(of_bird if k == birds else of_plant), name.split()[0]), strict=True))
        for k, name in enumerate([*species, "Parus major"])
    ]
    licences = [
        {"id": 0, "name": "CC BY-NC", "url": "http://creativecommons.org/licenses/by-nc/4.0/"},
        {"id": 1, "name": "CC0", "url": "http://creativecommons.org/publicdomain/zero/1.0/"},
    ]
    drawn = np.append(_long_tailed(rng, len(species), n_images), [birds, birds])
    rows = []
    images: dict[str, list[dict[str, object]]] = {"train": [], "val": []}
    annotations: dict[str, list[dict[str, object]]] = {"train": [], "val": []}
    for k, category in enumerate(int(x) for x in drawn):
        split = "val" if rng.random() < 0.1 or k == len(drawn) - 1 else "train"
        group = "Birds" if category == birds else "Plants"
        file_name = f"train_val2019/{group}/{category}/{int(rng.integers(2**62)):032x}.jpg"
        images[split].append(
            {
                "id": k,
                "width": 24,
                "height": 18,
                "file_name": file_name,
                "license": k % 2,
                "rights_holder": f"user {k % 7}",
            }
        )
        annotations[split].append({"id": k, "image_id": k, "category_id": category})
        _picture(folder / file_name, category)
        rows.append((str(k), str(category), categories[category]["name"], split))
    for split in ("train", "val"):
        info = {"year": 2019, "version": "miniature", "description": "generated", "contributor": "", "url": ""}
        content = {
            "info": info,
            "images": images[split],
            "categories": categories,
            "annotations": annotations[split],
            "licenses": licences,
        }
        _write(folder / f"{split}2019.json", content)
    return pd.DataFrame(rows, columns=["image_id", "class_id", "species", "split"])


def _long_tailed(rng: np.random.Generator, n_species: int, n: int) -> np.ndarray:
    """Draw species with Zipf's frequencies, each at least once."""
    share = 1.0 / np.arange(1, n_species + 1)
    more = rng.choice(n_species, size=max(n - n_species, 0), p=share / share.sum())
    return np.concatenate([np.arange(n_species), more])


def _picture(path: Path, of_species: int) -> None:
    data = io.BytesIO()
    colour = tuple((of_species * step) % 256 for step in (37, 91, 53))
    Image.new("RGB", (24, 18), colour).save(data, "JPEG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=3, ensure_ascii=False), encoding="utf-8")


def _lines(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{int(value)}\n" for value in values), encoding="utf-8")
