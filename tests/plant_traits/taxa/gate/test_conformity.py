"""What a names model says of an observation depends on that observation alone, to the last bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from plant_traits.taxa.gate.calibration import KINDS
from plant_traits.taxa.gate.conformity import NameFit, NameJudge
from plant_traits.taxa.taxonet.feature_space import fit_feature_space
from plant_traits.taxa.taxonet.name_head import HeadShape, NameHead
from plant_traits.taxa.taxonet.names_model import NamesModel

SPECIES, WIDTH, PHOTOS = 150, 768, 500


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(SPECIES, WIDTH))
    return (centres[rng.integers(0, SPECIES, PHOTOS)] + rng.normal(size=(PHOTOS, WIDTH))).astype(np.float32)


@pytest.fixture(scope="module")
def judge() -> NameJudge:
    """Return a judge as wide as those of the profiles: in smaller ones every batch gives the same bits."""
    rng = np.random.default_rng(4)
    torch.manual_seed(3)
    species = tuple(f"Genus{k // 4:02d} species{k:03d}" for k in range(SPECIES))
    learned = rng.normal(size=(4 * SPECIES, WIDTH)).astype(np.float32)
    labels = np.arange(4 * SPECIES) % SPECIES
    head = NameHead(HeadShape(features=WIDTH, hidden=256, embedding=128, classes=SPECIES)).eval()
    genera = tuple(name.split(" ")[0] for name in species)
    forms = tuple(("tree", "shrub", "herb")[k % 3] for k in range(SPECIES))
    model = NamesModel(
        species, np.full(SPECIES, 4), head, np.zeros(SPECIES), 32.0, 0.1, "encoder",
        space=fit_feature_space(learned, labels, SPECIES), genera=genera, families=(None,) * SPECIES,
        growth_forms=forms,
    )  # fmt: skip
    return NameJudge(model)


def fit(judge: NameJudge, features: np.ndarray, observation: np.ndarray, rows: np.ndarray) -> NameFit:
    """Judge the observations of these rows alone, under a name that depends on the observation."""
    mine = np.flatnonzero(np.isin(observation, rows))
    position = pd.Index(rows).get_indexer(pd.Index(observation[mine])).astype(np.int64)
    stated = judge.model.taxa.iloc[(rows * 7) % SPECIES].reset_index(drop=True)
    return judge.fit_of(features[mine], position, stated)


def test_an_observation_s_conformities_do_not_depend_on_what_else_is_judged(
    judge: NameJudge, features: np.ndarray
) -> None:
    rng = np.random.default_rng(6)
    observation = rng.integers(0, 300, PHOTOS)
    every = np.unique(observation)
    whole = fit(judge, features, observation, every)
    for size in (1, 2, 5, 63, 64, 65, 131):
        rows = np.sort(rng.choice(every, size, replace=False))
        where = np.searchsorted(every, rows)
        some = fit(judge, features, observation, rows)
        for kind in KINDS:
            np.testing.assert_array_equal(some.conformities[kind], whole.conformities[kind][where], err_msg=kind)
        np.testing.assert_array_equal(some.best, whole.best[where])
