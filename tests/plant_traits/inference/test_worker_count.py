"""How many workers predict the shards of a run, and how many records they take at a time, changes no prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from data_catalog import ModelSettings, Trait
from plant_traits.code_version import code_version
from plant_traits.inference.cluster import ClusterSpec, ShardJob, run_jobs
from plant_traits.model.calibration import Calibration
from plant_traits.model.checkpoint import save_model
from plant_traits.model.features import PhotoFeatures, write_features
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.photo_hashes import hashes_of_bytes
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.trained_model import TrainedModel
from plant_traits.schemas import SHARD_ROW, write_table
from plant_traits.stages.covariates import write_points
from plant_traits.stages.photos import FEATURES
from plant_traits.stages.prediction import predict_shard
from plant_traits.steps import Artifact, StepStore
from plant_traits.workspace import Workspace

TRAITS = tuple(
    Trait(id=name, name=name, definition="d", unit="m", valid_range=(0.01, 100.0), likelihood=likelihood)
    for name, likelihood in (("height", "gaussian"), ("sla", "laplace"))
)
SIZES = (37, 12, 5)


def write_model(folder: Path) -> None:
    config = NetworkConfig(image_dimension=6, covariates=3, traits=2, hidden=16, blocks=1, dropout=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = tuple(TraitNetwork(config).eval().requires_grad_(False) for _ in range(3))
        for network in networks:
            torch.nn.init.normal_(network.log_scale.weight, std=0.1)

    def plain(columns: int) -> Standardisation:
        return Standardisation(np.zeros(columns), np.ones(columns), np.full(columns, -3.0), np.full(columns, 3.0))

    factor = np.broadcast_to(np.array([1.0, 2.5])[None, :, None], (3, 2, 2)).copy()
    calibration = Calibration(
        ("height", "sla"), ("all", "tree"), (0.9,), np.full((3, 2, 2), 20), factor, np.full((3, 2, 2, 1), 1.7)
    )
    model = TrainedModel(
        traits=TRAITS,
        covariate_names=("a", "b", "c"),
        encoder_identity="e",
        config=config,
        networks=networks,
        image_standardisation=plain(6),
        covariate_standardisation=plain(3),
        target_centre=np.array([1.0, 2.0]),
        target_scale=np.array([0.5, 2.0]),
        calibration=calibration,
        metrics={},
        settings=ModelSettings(ensemble=3),
    )
    save_model(model, folder)


def write_shard(folder: Path, number: int) -> None:
    """Write the records, features and covariates of a shard; some lack a photo, some a place, one both."""
    generator, n = np.random.default_rng(number), SIZES[number]
    ids = [f"{number}-{row}" for row in range(n)]
    table = pd.DataFrame({field.name: [1.0 if pa.types.is_floating(field.type) else None] * n for field in SHARD_ROW})
    form = [("tree", None)[row % 2] for row in range(n)]
    table = table.assign(observation_id=ids, photo_id=ids, growth_form=form)
    write_table(table, folder / "observations.parquet", SHARD_ROW)
    image = generator.normal(size=(n, 6)).astype(np.float16).astype(np.float32)
    place = generator.normal(size=(n, 3)).astype(np.float32)
    image[::4], place[1::5], place[2, 1] = np.nan, np.nan, np.nan
    image[1] = np.nan
    hashes = hashes_of_bytes([bytes([number + 1, row + 1]) * 16 for row in range(n)])
    write_features(PhotoFeatures(tuple(ids), hashes, image, ("ok",) * n, "e"), folder / FEATURES)
    write_points(folder, place, ["a", "b", "c"])


def predictions(root: Path, workers: int, batch_size: int) -> dict[str, pd.DataFrame]:
    """Predict every shard in a workspace of its own."""
    store = StepStore(Workspace.open(root))

    def kept(name: str, number: int | None = None) -> Artifact:
        def write(folder: Path) -> dict[str, int]:
            write_model(folder) if number is None else write_shard(folder, number)
            return {}

        return store.run(name, write, code="1", parameters={"number": number})

    model = kept("model")
    jobs = {}
    for number in range(len(SIZES)):
        shard = kept("shard", number)
        jobs[str(number)] = ShardJob(
            step="shard-predictions",
            function=predict_shard,
            code=code_version(predict_shard.__module__),
            inputs={"shard": shard, "features": shard, "points": shard, "model": model},
            settings={"batch_size": batch_size, "device": "cpu"},
        )
    done = run_jobs(store, jobs, ClusterSpec(workers=workers))
    assert not any(artifact.reused for artifact in done.values())
    return {name: pd.read_parquet(store.fetch(made) / "predictions.parquet") for name, made in done.items()}


def test_workers_and_batches_do_not_change_predictions(tmp_path: Path) -> None:
    one = predictions(tmp_path / "one", workers=1, batch_size=4096)
    two = predictions(tmp_path / "two", workers=2, batch_size=3)
    numbers = ["mean", "variance_aleatoric", "variance_epistemic"]
    for (name, ours), size, nothing in zip(one.items(), SIZES, (3, 1, 1), strict=True):
        theirs = two[name]
        assert len(ours) == 2 * size
        np.testing.assert_allclose(ours[numbers], theirs[numbers], rtol=1e-5, atol=1e-5)
        pd.testing.assert_frame_equal(ours.drop(columns=numbers), theirs.drop(columns=numbers))
        assert ours["mean"].nunique() == 2 * (size - nothing)  # all different, but of records without either input
