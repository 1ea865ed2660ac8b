"""A small training table, as ``build_training_table`` writes it, and what a stage is asked to do with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_catalog import Catalog, ModelSettings, Trait
from plant_traits.schemas import SPECIES_RECORD, write_table

N, PHOTOLESS = 520, 160
"""Records, of which the last were measured and have no photo."""


@pytest.fixture
def traits(catalog: Catalog) -> list[Trait]:
    return [catalog.trait("height"), catalog.trait("sla")]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write records of 30 species that show their traits in the photo and, within a species, in the first covariate.

    Records 0 and 1 are of one occasion, 2 has no label of sla, 3 no place, and all but the measured ones have a photo.
    """
    folder = tmp_path / "table"
    folder.mkdir()
    generator = np.random.default_rng(7)
    species = generator.integers(0, 30, N)
    looks = generator.normal(size=(30, 6))
    covariates = generator.normal(size=(N, 3)).astype(np.float32)
    median = looks[:, :2] + 1.0
    image = (looks[species] + generator.normal(size=(N, 6)) * 0.1).astype(np.float32)
    image[-PHOTOLESS:] = np.nan
    covariates[3] = np.nan
    label = median[species]
    label[2, 1] = np.nan
    measured = np.full((N, 2), np.nan)
    measured[-PHOTOLESS:] = median[species[-PHOTOLESS:]] + 0.5 * covariates[-PHOTOLESS:, :1]
    photo = [f"p{k}" if k < N - PHOTOLESS else None for k in range(N)]
    occasion = np.arange(N) + 1000
    occasion[1] = occasion[0]
    rows = pd.DataFrame(
        {
            "observation_id": [f"o{k}" if k < N - PHOTOLESS else None for k in range(N)],
            "photo_id": photo,
            "species": [f"Rosa {k}" for k in species],
            "growth_form": [("tree", "shrub", "herb")[k % 3] for k in species],
            "latitude": generator.uniform(-60, 80, N),
            "longitude": generator.uniform(-180, 180, N),
            "occasion": occasion,
            "biome": None,
        }
    )
    rows.loc[1, ["latitude", "longitude"]] = rows.loc[0, ["latitude", "longitude"]].to_numpy()
    for column, trait in enumerate(("height", "sla")):
        rows[f"measured_{trait}"] = measured[:, column]
        for part, value in (("median", 0.0), ("low", -0.2), ("high", 0.2)):
            rows[f"label_{trait}_{part}"] = label[:, column] + value
        rows[f"label_{trait}_sd"] = 0.1
    rows.to_parquet(folder / "rows.parquet")
    np.save(folder / "image.npy", image)
    np.save(folder / "covariates.npy", covariates)
    (folder / "covariates.json").write_text(json.dumps(["a", "b", "c"]))
    records = pd.DataFrame({"taxon": [f"Rosa {k}" for k in range(30)], "trait": "height", "value": median[:, 0]})
    write_table(records, folder / "species_records.parquet", SPECIES_RECORD)
    return folder


@pytest.fixture
def settings() -> ModelSettings:
    return ModelSettings(
        ensemble=2, hidden=8, blocks=1, epochs=2, batch_size=64, learning_rate=5e-3, dropout=0.0, seed=3,
        validation_share=0.3, species_share=0.1, photo_share=0.1, covariate_noise=0.0, covariate_dropout=0.0,
        refit=False,
    )  # fmt: skip


@pytest.fixture
def asked(table: Path, traits: list[Trait], settings: ModelSettings) -> dict[str, Any]:
    """Return the arguments that the stages of a training share."""
    return {"table": table, "traits": traits, "settings": settings, "encoder_identity": "e1", "device": "cpu"}


@pytest.fixture
def truth(tmp_path: Path, table: Path) -> Path:
    """Write the true values of every photographed plant, 10 and 20 more than its label's median."""
    rows = pd.read_parquet(table / "rows.parquet").dropna(subset="photo_id")
    true = {
        f"true_{name}": rows[f"label_{name}_median"].fillna(0) + more for name, more in (("height", 10), ("sla", 20))
    }
    path = tmp_path / "truth.parquet"
    pd.DataFrame({"photo_id": rows["photo_id"], "true_species": rows["species"], **true}).to_parquet(path)
    return path
