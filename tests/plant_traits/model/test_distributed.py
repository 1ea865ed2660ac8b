"""Two processes on one machine give what one gives."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from plant_traits.errors import ModelError
from plant_traits.model.distributed import Processes, process_group, running_processes

PROCESS = Path(__file__).with_name("training_process.py")
small = runpy.run_path(str(PROCESS))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("shared")
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROCESS), str(folder), "--rank", str(rank), "--address", f"file://{folder}/meet"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0"},
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    found = [folder / f"found-{rank}.json" for rank in (0, 1)]
    assert all(path.exists() for path in found), errors
    return folder, [json.loads(path.read_text()) for path in found]


def test_the_result_is_that_of_one_process(shared: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, found = shared
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = small["train_small"](settings=small["SETTINGS"].model_copy(update={"dropout": 0.0}))
    assert small["random_state"]() == found[0]["random"] == found[1]["random"]
    torch.set_num_threads(before)
    weights = load_file(folder / "plain-0.safetensors")
    assert weights.keys() == alone.network.state_dict().keys()
    for name, expected in alone.network.state_dict().items():
        torch.testing.assert_close(weights[name], expected, atol=1e-5, rtol=0)
    for ours, theirs in zip(found[0]["history"], alone.history, strict=True):
        assert ours["loss"] == pytest.approx(theirs.loss, abs=1e-5)
        assert ours["held_out_loss"] == pytest.approx(theirs.held_out_loss, abs=1e-5)
        assert ours["pearson_r"] == pytest.approx(theirs.pearson_r, abs=1e-5)


@pytest.mark.parametrize("name", ["plain", "dropout", "resumed"])
def test_all_processes_have_the_same_weights(name: str, shared: tuple[Path, list[dict[str, Any]]]) -> None:
    ours, theirs = (load_file(shared[0] / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_with_dropout_the_common_draws_stay_common(shared: tuple[Path, list[dict[str, Any]]]) -> None:
    _, found = shared
    assert found[0]["random_dropout"] == found[1]["random_dropout"]


def test_an_interrupted_group_resumes_to_the_same_bits(shared: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, _ = shared
    ours, theirs = (load_file(folder / f"{name}-0.safetensors") for name in ("dropout", "resumed"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_only_the_first_reports_and_keeps_files(shared: tuple[Path, list[dict[str, Any]]]) -> None:
    _, found = shared
    assert found[0]["progress"] == [6, 7, 8, 9, 10]
    assert found[1]["progress"] == []
    assert [part["unused"] for part in found] == [False, False]


def test_batch_statistics_need_a_gpu_or_one_process(shared: tuple[Path, list[dict[str, Any]]]) -> None:
    _, found = shared
    assert all("expected a GPU for a network with batch normalisation" in part["published"] for part in found)
    network = torch.nn.BatchNorm1d(2)
    assert Processes(0, 1).joined(network) is network


@pytest.mark.parametrize("n", [0, 1, 2, 7, 256])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_are_every_row_once(n: int, count: int) -> None:
    parts = [np.arange(n)[Processes(rank, count).share(n)] for rank in range(count)]
    assert np.concatenate(parts).tolist() == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_own_randomness_differs_and_leaves_the_common_one() -> None:
    drawn = []
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for rank, step in ((0, 0), (1, 0), (0, 1), (0, 0)):
        with Processes(rank, 2).own_randomness(7, step, torch.device("cpu")):
            drawn.append(torch.rand(3).tolist())
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn[0] == drawn[3]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    with Processes(0, 1).own_randomness(7, 0, torch.device("cpu")):
        alone = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(alone, torch.rand(3))  # a single process draws from the common stream


def test_outside_a_group_there_is_one_process() -> None:
    assert running_processes() == Processes(0, 1)


def test_a_group_of_one_leaves_nothing_behind(tmp_path: Path) -> None:
    with process_group(0, 1, f"file://{tmp_path}/meet") as processes:
        assert processes == Processes(0, 1)
        assert torch.distributed.is_initialized()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_outside_the_group_is_refused(rank: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a rank from 0 to 1"), process_group(rank, 2, f"file://{tmp_path}/m"):
        pass
