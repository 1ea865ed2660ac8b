import pytest
import torch

from plant_traits.errors import ModelError
from plant_traits.model.device import resolve_device


def test_without_a_gpu_auto_is_the_processor_and_cuda_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == resolve_device("auto", 1) == "cpu"
    with pytest.raises(ModelError, match="sees no GPU"):
        resolve_device("cuda")


def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"
    assert [resolve_device("auto", rank) for rank in (0, 1)] == ["cuda:0", "cuda:1"]
    assert resolve_device("cpu", 1) == "cpu"
    with pytest.raises(ModelError, match=r"process 2 .* found 2 GPUs"):
        resolve_device("cuda", 2)
