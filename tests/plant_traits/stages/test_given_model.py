"""A model taken over from a folder, checked before it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data_catalog import Catalog, ModelSettings, load_catalog
from plant_traits.errors import MissingInputError, ModelError
from plant_traits.model.calibration import uncalibrated
from plant_traits.model.checkpoint import load_model, save_model
from plant_traits.model.held_out_places import HELD_OUT_PLACE, HELD_OUT_PLACES, write_held_out_places
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.trained_model import TrainedModel
from plant_traits.model.training_places import PLACES, TrainingPlaces, write_training_places
from plant_traits.stages.given_model import fetch_model, take_model


@pytest.fixture
def model(tmp_path: Path, catalog: Catalog) -> Path:
    config = NetworkConfig(image_dimension=4, covariates=2, traits=1, hidden=4, blocks=1, dropout=0.0)
    torch.manual_seed(3)
    plain = Standardisation(np.zeros(4), np.ones(4), np.full(4, -9.0), np.full(4, 9.0))
    trained = TrainedModel(
        traits=(catalog.trait("height"),),
        covariate_names=("a", "b"),
        encoder_identity="encoder 1",
        config=config,
        networks=(TraitNetwork(config).eval().requires_grad_(False),),
        image_standardisation=plain,
        covariate_standardisation=Standardisation(*(x[:2] for x in (plain.centre, plain.scale, plain.low, plain.high))),
        target_centre=np.zeros(1),
        target_scale=np.ones(1),
        calibration=uncalibrated(["height"], 3),
        metrics={"counts": {"records": 70, "records_fitted": 50}},
        settings=ModelSettings(ensemble=1),
    )
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(trained, folder)
    places = TrainingPlaces(np.zeros((3, 2), np.float32), np.arange(3), np.ones((3, 1), dtype=bool))
    write_training_places(places, folder, trained.model_id)
    (folder / "curves.csv").write_text("epoch\n")
    (folder / "model.html").write_text("not of the model")
    return folder


HEIGHT = load_catalog().trait("height")


def taken(model: Path, tmp_path: Path, address: str | None = None, **words: object) -> tuple[Path, dict[str, object]]:
    given, kept = tmp_path / "given", tmp_path / "kept"
    given.mkdir()
    kept.mkdir()
    fetch_model(address or str(model), given)
    told = {"traits": [HEIGHT], "encoder_identity": "encoder 1", "location_encoder": "covariates"}
    told |= {"covariate_names": ("a", "b")} | words
    return kept, take_model(kept, given=given, **told)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_given_model_is_the_one_that_was_saved(model: Path, tmp_path: Path, scheme: str) -> None:
    kept, summary = taken(model, tmp_path, f"{scheme}{model}/")
    assert {x.name for x in kept.iterdir()} == {"weights.safetensors", "card.yaml", "curves.csv", PLACES}
    assert load_model(kept).model_id == load_model(model).model_id == summary["model_id"]
    assert (summary["in"], summary["out"]) == ({"training rows": 70}, {"rows fitted": 50})
    assert summary["metrics"]["counts"]["records"] == 70


def test_what_was_said_of_held_out_places_comes_along_and_must_be_the_models(model: Path, tmp_path: Path) -> None:
    own = load_model(model).model_id
    write_held_out_places(HELD_OUT_PLACE.empty_table().to_pandas(), model, own)
    kept, _ = taken(model, tmp_path)
    assert (kept / HELD_OUT_PLACES).read_bytes() == (model / HELD_OUT_PLACES).read_bytes()
    write_held_out_places(HELD_OUT_PLACE.empty_table().to_pandas(), model, "another")
    (tmp_path / "again").mkdir()
    with pytest.raises(ModelError, match="another"):
        taken(model, tmp_path / "again")


def test_the_hash_is_that_of_the_content(model: Path, tmp_path: Path) -> None:
    hashes = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        if number == 2:
            (model / "curves.csv").write_text("epoch\n1\n")
        hashes.append(fetch_model(str(model), tmp_path / str(number)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_model_without_its_training_places_is_refused(model: Path, tmp_path: Path) -> None:
    (model / PLACES).unlink()
    with pytest.raises(MissingInputError, match=PLACES):
        taken(model, tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"holds no weights\.safetensors"):
        fetch_model(str(tmp_path / "kpet"), tmp_path)


def test_a_model_of_something_else_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="sla"):
        taken(model, tmp_path, traits=[load_catalog().trait("sla")])
    (tmp_path / "again").mkdir()
    with pytest.raises(ModelError, match="encoder 2"):
        taken(model, tmp_path / "again", encoder_identity="encoder 2")


def test_a_damaged_model_is_refused(model: Path, tmp_path: Path) -> None:
    content = bytearray((model / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (model / "weights.safetensors").write_bytes(bytes(content))
    with pytest.raises(ModelError):
        taken(model, tmp_path)


def test_a_model_of_other_units_or_places_is_refused(model: Path, tmp_path: Path) -> None:
    for number, (words, said) in enumerate(
        [
            ({"traits": [HEIGHT.model_copy(update={"unit": "cm"})]}, "predicts height in m, ln; the run maps it in cm"),
            ({"traits": [HEIGHT.model_copy(update={"working_space": "identity"})]}, "the run maps it in m, identity"),
            ({"location_encoder": "geoclip"}, "reads places with the encoder covariates, the run with geoclip"),
            ({"covariate_names": ("a", "c")}, "the run lacks b and it has also c"),
            ({"covariate_names": ("a", "b", "c")}, "3 columns, a, b, c, it has also c"),
            ({"covariate_names": ("b", "a")}, "the same in another order"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(ModelError, match=said):
            taken(model, folder, **words)
