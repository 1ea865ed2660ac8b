"""A small training to interrupt, and a process of its own to be killed in, or to share it with another."""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from data_catalog import ModelSettings
from plant_traits.errors import ModelError
from plant_traits.model.distributed import process_group, running_processes
from plant_traits.model.member import MemberData, TrainedMember, row_weights, train_member
from plant_traits.model.network_presets import fit_scalings, network_config
from plant_traits.model.training_set import TrainingSet

TRAITS = ("height", "leaf_area", "sla")
SETTINGS = ModelSettings(
    ensemble=2, hidden=16, blocks=1, epochs=5, batch_size=33, learning_rate=5e-3, dropout=0.2, modality_dropout=0.4,
    covariate_dropout=0.3, covariate_noise=0.1, patience=5, refit=False,
)  # fmt: skip


def small_set(n: int, seed: int) -> TrainingSet:
    """Three traits made of one image feature and one covariate; more labels are missing in the later rows."""
    generator = np.random.default_rng(seed)
    image = generator.normal(size=(n, 6)).astype(np.float32)
    covariates = generator.normal(size=(n, 4))
    median = image[:, :1] * [0.2, 0.5, 1.0] + covariates[:, :1] * [1.0, 0.5, 0.2] + 3.0
    median[generator.random((n, 3)) < np.linspace(0, 0.8, n)[:, None]] = np.nan
    median[0] = 3.0
    image[: n // 8], covariates[-n // 8 :] = np.nan, np.nan
    return TrainingSet(
        image_features=image,
        covariates=covariates,
        covariate_names=("bio1", "bio12", "clay", "ph"),
        latitude=generator.uniform(-60, 80, n),
        longitude=generator.uniform(-180, 180, n),
        measured=np.full_like(median, np.nan),
        label_median=median,
        label_sd=np.full_like(median, 0.1),
        label_low=median - 0.2,
        label_high=median + 0.1,
        growth_form=["tree"] * n,
        species=["s"] * n,
        occasion=np.arange(n),
        biome=[None] * n,
    )


def train_small(
    resume: Path | None = None,
    *,
    settings: ModelSettings = SETTINGS,
    member: int = 1,
    n_stopping: int = 60,
    fixed_epochs: int | None = None,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
    data_seed: int = 0,
) -> TrainedMember:
    """Train one member on 200 records."""
    fitted, stopping = small_set(200, data_seed), small_set(max(n_stopping, 8), 1)
    stopping = stopping.rows(np.arange(len(stopping.latitude)) < n_stopping)
    weight = row_weights(fitted, settings)
    config = network_config(settings, 6, 4, 3)
    scalings = fit_scalings(
        config, fitted.features(), fitted.covariates, fitted.covariate_names, fitted.centres(), weight
    )
    stopping_weight = row_weights(stopping, settings) if n_stopping else np.empty(0)
    return train_member(
        member,
        config,
        MemberData.build(fitted, *scalings, weight, "cpu"),
        MemberData.build(stopping, *scalings, stopping_weight, "cpu"),
        torch.tensor([False, True, False]),
        settings,
        progress,
        fixed_epochs,
        resume=resume,
        traits=TRAITS,
    )


class Interrupted(Exception):
    """Stands for whatever ends a training."""


def before_labels(epoch: int, act: Callable[[], None]) -> None:
    """From now on act before the labels of an epoch are drawn."""
    labels = TrainingSet.labels

    def watched(self: TrainingSet, seed: int, now: int) -> Any:  # noqa: ANN401
        if now == epoch:
            act()
        return labels(self, seed, now)

    TrainingSet.labels = watched  # type: ignore[method-assign]


def before_replacing(number: int, act: Callable[[], None]) -> None:
    """From now on act before the n-th file is put in place."""
    replace, calls = Path.replace, []

    def watched(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == number:
            act()
        return replace(self, target)

    Path.replace = watched  # type: ignore[method-assign]


def wait_to_be_killed() -> None:
    """Say so, and wait."""
    print("waiting", flush=True)
    sys.stdin.read()


def interrupt() -> None:
    """End the training here."""
    raise Interrupted


def share_training(rank: int, address: str, folder: Path) -> None:
    """Train in two processes: without dropout, with it, and interrupted and resumed; write what came of it."""
    plain = SETTINGS.model_copy(update={"dropout": 0.0})
    calls: list[int] = []
    found: dict[str, Any] = {}
    with process_group(rank, 2, address):
        whole = train_small(settings=plain, progress=lambda done, *_: calls.append(done))
        found["random"] = random_state()
        save_file(dict(whole.network.state_dict()), folder / f"plain-{rank}.safetensors")
        found["history"] = [asdict(scores) for scores in whole.history]
        found["progress"] = calls
        dropping = train_small()
        found["random_dropout"] = random_state()
        save_file(dict(dropping.network.state_dict()), folder / f"dropout-{rank}.safetensors")
        labels = TrainingSet.labels
        before_labels(3, interrupt)
        try:
            train_small(folder / "states" if rank == 0 else folder / "unused")
        except Interrupted:
            TrainingSet.labels = labels  # type: ignore[method-assign]
        resumed = train_small(folder / "states" if rank == 0 else folder / "unused", progress=lambda *_: None)
        save_file(dict(resumed.network.state_dict()), folder / f"resumed-{rank}.safetensors")
        found["unused"] = (folder / "unused").exists()
        try:
            train_published()
        except ModelError as error:
            found["published"] = str(error)
        (folder / f"found-{rank}.json").write_text(json.dumps(found))


def train_published() -> None:
    """Bring a network with batch normalisation into the process group."""
    running_processes().joined(torch.nn.Sequential(torch.nn.BatchNorm1d(2)))


def random_state() -> str:
    """Hash of the state of torch's generator."""
    return hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=int)
    parser.add_argument("--replacing", type=int)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--address")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.labels is not None:
        before_labels(arguments.labels, wait_to_be_killed)
    if arguments.replacing is not None:
        before_replacing(arguments.replacing, wait_to_be_killed)
    if arguments.rank is None:
        train_small(arguments.folder)
    else:
        share_training(arguments.rank, arguments.address, arguments.folder)
        # Threads of gloo may outlive the group by a moment, and abort an interpreter that is being taken down.
        os._exit(0)
