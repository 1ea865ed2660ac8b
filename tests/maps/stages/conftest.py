"""A small trained model's folder, with scores and without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_catalog import Catalog, ModelSettings
from plant_traits.covariates.biomes import NEEDED
from plant_traits.model.calibration import Calibration
from plant_traits.model.checkpoint import save_model
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.trained_model import TrainedModel

ModelMaker = Callable[[dict[str, Any]], Path]

# Standard deviations that a 90 % interval reaches: twice for all plants, once for trees where it is arid, no bound
# from the place alone.
REACH = {"all": 2.0, "tree": 3.0, "tree/arid": 1.0}


@pytest.fixture
def make_model(tmp_path: Path, catalog: Catalog) -> ModelMaker:
    """Return a function that writes a model of height and SLA with the given metrics."""

    def make(metrics: dict[str, Any]) -> Path:
        traits = (catalog.trait("height"), catalog.trait("sla"))
        config = NetworkConfig(image_dimension=2, covariates=len(NEEDED), traits=2, hidden=8, blocks=1, dropout=0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = TraitNetwork(config).eval().requires_grad_(False)

        def plain(columns: int) -> Standardisation:
            return Standardisation(np.zeros(columns), np.ones(columns), np.full(columns, -9.0), np.full(columns, 9.0))

        shape = (3, len(REACH), 2)
        quantile = np.broadcast_to(np.array(list(REACH.values()))[None, :, None, None], (*shape, 1)).copy()
        quantile[2] = np.inf
        model = TrainedModel(
            traits=traits,
            covariate_names=NEEDED,
            encoder_identity="0123456789abcdef0123456789abcdef",
            config=config,
            networks=(network,),
            image_standardisation=plain(2),
            covariate_standardisation=plain(len(NEEDED)),
            target_centre=np.zeros(2),
            target_scale=np.ones(2),
            calibration=Calibration(
                ("height", "sla"), tuple(REACH), (0.9,), np.full(shape, 37), np.full(shape, 1.44), quantile
            ),
            metrics=metrics,
            settings=ModelSettings(ensemble=1, encoder="efficientnet-lite0"),
        )
        folder = tmp_path / "model"
        folder.mkdir()
        save_model(model, folder)
        return folder

    return make
