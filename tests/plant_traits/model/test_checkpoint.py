"""Checkpoints that are not those of the model asked for: another shape, another preset, other bytes."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file, save_file

from data_catalog import ModelSettings, Trait
from plant_traits.errors import ModelError
from plant_traits.model.calibration import uncalibrated
from plant_traits.model.checkpoint import load_model, save_model
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.trained_model import TrainedModel

TRAITS = tuple(
    Trait(id=name, name=name, definition="d", unit="m", valid_range=(0.01, 100.0)) for name in ("height", "sla")
)


def made(hidden: int = 8, blocks: int = 1, covariates: int = 3) -> TrainedModel:
    config = NetworkConfig(
        image_dimension=4, covariates=covariates, traits=2, hidden=hidden, blocks=blocks, dropout=0.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = tuple(TraitNetwork(config).eval().requires_grad_(False) for _ in range(2))

    def plain(columns: int) -> Standardisation:
        return Standardisation(np.zeros(columns), np.ones(columns), np.full(columns, -9.0), np.full(columns, 9.0))

    return TrainedModel(
        traits=TRAITS,
        covariate_names=tuple("abcdef"[:covariates]),
        encoder_identity="e",
        config=config,
        networks=networks,
        image_standardisation=plain(4),
        covariate_standardisation=plain(covariates),
        target_centre=np.zeros(2),
        target_scale=np.ones(2),
        calibration=uncalibrated(["height", "sla"], 3),
        metrics={},
        settings=ModelSettings(ensemble=2, hidden=hidden, blocks=blocks),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    save_model(made(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (made(hidden=16), r"member 0: .*size mismatch"),
        (made(blocks=2), r"member 0: .*Unexpected key"),
        (made(covariates=5), r"member 0: .*size mismatch"),
    ],
    ids=["wider", "deeper", "more covariates"],
)
def test_weights_of_another_architecture_are_refused(
    folder: Path, tmp_path: Path, other: TrainedModel, message: str
) -> None:
    (tmp_path / "other").mkdir()
    save_model(other, tmp_path / "other")
    (folder / "weights.safetensors").write_bytes((tmp_path / "other" / "weights.safetensors").read_bytes())
    with pytest.raises(ModelError, match=f"(?s){message}.*train it again"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": 2}, r"member 0: .*Missing key"),
        ({"hidden": 4}, r"member 0: .*size mismatch"),
        ({"traits": 3}, r"member 0: .*size mismatch"),
        ({"preset": "planttraitnet-published"}, "planttraitnet-published|member 0"),
        ({"depth": 3}, "lacks or garbles an entry"),
    ],
    ids=["deeper", "narrower", "a trait more", "preset", "unknown"],
)
def test_a_card_of_another_architecture_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    assert card["network"] == asdict(made().config)
    card["network"] |= change
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ModelError, match=f"(?s){message}"):
        load_model(folder)


def test_an_ensemble_of_another_size_is_refused(folder: Path) -> None:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    for size, message in ((1, r"left over \['member\.1"), (3, r"member 2: .*Missing key")):
        card["settings"]["ensemble"] = size
        (folder / "card.yaml").write_text(yaml.safe_dump(card))
        with pytest.raises(ModelError, match=f"(?s){message}"):
            load_model(folder)


def swap(arrays: dict[str, Any]) -> None:
    """Exchange the outputs of the two traits in every member."""
    for name, array in arrays.items():
        if name.startswith("member.") and array.shape[:1] == (2,):
            arrays[name] = array[::-1].copy()


@pytest.mark.parametrize(
    "change", [swap, lambda a: a.update({"member.0.location.bias": a["member.0.location.bias"] + 1})]
)
def test_weights_of_the_same_shape_that_were_changed_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    arrays = load_file(folder / "weights.safetensors")
    change(arrays)
    save_file(arrays, folder / "weights.safetensors")
    with pytest.raises(ModelError, match="belongs to the networks"):
        load_model(folder)


def test_another_order_or_number_of_traits_is_refused(folder: Path) -> None:
    assert load_model(folder, ("height", "sla")).model_id == made().model_id
    for wanted in (("sla", "height"), ("height",), ("height", "sla", "leaf_n")):
        with pytest.raises(ModelError, match="in this order"):
            load_model(folder, wanted)
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["traits"] = card["traits"][::-1]
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ModelError, match="in this order"):
        load_model(folder)


def test_every_flipped_bit_and_every_cut_of_the_weights_is_noticed(folder: Path) -> None:
    path = folder / "weights.safetensors"
    content = path.read_bytes()
    places = np.random.default_rng(0).integers(0, len(content), 40).tolist()
    for place in (0, 7, 8, 9, len(content) - 1, *places):
        spoilt = bytearray(content)
        spoilt[place] ^= 16
        path.write_bytes(bytes(spoilt))
        with pytest.raises(ModelError, match=r"again"):
            load_model(folder)
    for length in (0, 4, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match="cannot be read"):
            load_model(folder)
    path.write_bytes(content)
    assert load_model(folder).model_id == made().model_id
