import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from plant_traits.errors import ModelError
from plant_traits.model import geoclip
from plant_traits.model.location_encoders import LocationEncoder, load_place_features

LATITUDE = np.array([47.4, -33.9, 0.0, 90.0, -90.0, 12.345, 64.2])
LONGITUDE = np.array([8.55, 151.2, -180.0, 17.0, 180.0, 179.999, -21.9])

needs_geoclip = pytest.mark.skipif(importlib.util.find_spec("geoclip") is None, reason="needs the package geoclip")


def tiny_climplicit(folder: Path, layers: int = 3, hidden: int = 8, outputs: int = 5, seed: int = 0) -> Path:
    """Write random weights in the published layout: model.safetensors with the location encoder and the regressor."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(4, hidden)] + [(hidden, hidden)] * (layers - 1)
    state = {}
    for i, (inputs, width) in enumerate(sizes):
        state[f"location_encoder.layers.{i}.weight"] = torch.randn(width, inputs, generator=generator) / inputs
        state[f"location_encoder.layers.{i}.bias"] = torch.randn(width, generator=generator) / inputs
    state["location_encoder.last_layer.weight"] = torch.randn(outputs, hidden, generator=generator)
    state["location_encoder.last_layer.bias"] = torch.randn(outputs, generator=generator)
    state["chelsa_regressor.weight"] = torch.randn(11, outputs, generator=generator)
    state["chelsa_regressor.bias"] = torch.randn(11, generator=generator)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors")
    return folder


def climplicit(folder: Path) -> LocationEncoder:
    return load_place_features("climplicit", str(folder)).encoders[0]


def restated_climplicit(folder: Path, latitude: float, longitude: float) -> np.ndarray:
    """Follow the equations for one place, in float64, month by month."""
    state = {name: tensor.double().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}
    features = []
    for month in (3, 6, 9, 12):
        season = month / 12 * 2 * np.pi
        z = np.array([longitude / 180, latitude / 90, np.sin(season), np.cos(season)])
        g = state["location_encoder.layers.0.weight"] @ z + state["location_encoder.layers.0.bias"]
        x = np.sin(30 * np.sinh(2 * g))
        for i in range(1, sum(".layers." in name and name.endswith("weight") for name in state)):
            w, b = state[f"location_encoder.layers.{i}.weight"], state[f"location_encoder.layers.{i}.bias"]
            g = (w @ x + b + g) / 2
            x = np.sin(g)
        features.append(state["location_encoder.last_layer.weight"] @ x + state["location_encoder.last_layer.bias"])
    return np.concatenate(features)


def test_climplicit_follows_its_equations(tmp_path: Path) -> None:
    encoder = climplicit(tiny_climplicit(tmp_path))
    assert encoder.dimension == 20
    expected = [restated_climplicit(tmp_path, *place) for place in zip(LATITUDE, LONGITUDE, strict=True)]
    np.testing.assert_allclose(encoder.encode(LATITUDE, LONGITUDE), expected, atol=2e-4)  # 30 sinh 2g amplifies float32


def test_climplicit_of_the_published_size_has_1024_features(tmp_path: Path) -> None:
    assert climplicit(tiny_climplicit(tmp_path, layers=16, hidden=512, outputs=256)).dimension == 1024


def test_climplicit_from_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--somebody--climate"
    folder = tiny_climplicit(model / "snapshots" / "0a1b2c")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0a1b2c")
    encoder = load_place_features("climplicit", "somebody/climate").encoders[0]
    assert (encoder.licence, encoder.identity) == ("mit", climplicit(folder).identity)


def test_climplicit_that_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"`hf download Jobedo/climplicit`.*HF_HOME"):
        load_place_features("climplicit", "Jobedo/climplicit")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"expected model\.safetensors"):
        load_place_features("climplicit", str(tmp_path / "empty"))


def test_climplicit_refuses_other_weights(tmp_path: Path) -> None:
    path = tiny_climplicit(tmp_path) / "model.safetensors"
    state = load_file(path)
    save_file(state | {"surplus": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match=r"left over \['surplus'\]"):
        climplicit(tmp_path)
    save_file({name: tensor for name, tensor in state.items() if not name.endswith("1.bias")}, path)
    with pytest.raises(ModelError, match=r"missing \['layers\.1\.bias'\]"):
        climplicit(tmp_path)
    save_file(state | {"location_encoder.layers.1.weight": torch.zeros(8, 7)}, path)
    with pytest.raises(ModelError, match=r"another shape \['layers\.1\.weight'\]"):
        climplicit(tmp_path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="last_layer"):
        climplicit(tmp_path)
    path.write_bytes(b"\x00" * 40)
    with pytest.raises(ModelError, match="cannot be read"):
        climplicit(tmp_path)


def equal_earth(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """The projection's published polynomials [Šavrič, Patterson, Jenny 2018] on the unit sphere."""
    a = (1.340264, -0.081106, 0.000893, 0.003796)
    theta = np.arcsin(np.sqrt(3) / 2 * np.sin(np.radians(latitude)))
    slope = a[0] + 3 * a[1] * theta**2 + 7 * a[2] * theta**6 + 9 * a[3] * theta**8
    x = 2 * np.sqrt(3) * np.radians(longitude) * np.cos(theta) / (3 * slope)
    return np.column_stack([x, a[0] * theta + a[1] * theta**3 + a[2] * theta**7 + a[3] * theta**9])


@needs_geoclip
def test_geoclip_follows_its_description() -> None:
    path = Path(importlib.util.find_spec("geoclip").origin).parent / geoclip.WEIGHTS
    state = {name: tensor.double().numpy() for name, tensor in torch.load(path, weights_only=True).items()}
    place = equal_earth(LATITUDE, LONGITUDE) * 66.50336 / 180
    expected = np.zeros((len(LATITUDE), 512))
    for scale, spread in enumerate((1, 16, 256)):
        frequencies = state[f"LocEnc{scale}.capsule.0.b"]
        assert frequencies.std() == pytest.approx(spread, rel=0.1)
        angle = 2 * np.pi * place @ frequencies.T
        x = np.hstack([np.cos(angle), np.sin(angle)])
        for layer in (1, 3, 5):
            w, b = state[f"LocEnc{scale}.capsule.{layer}.weight"], state[f"LocEnc{scale}.capsule.{layer}.bias"]
            x = np.maximum(x @ w.T + b, 0)
        expected += x @ state[f"LocEnc{scale}.head.0.weight"].T + state[f"LocEnc{scale}.head.0.bias"]
    encoder = load_place_features("geoclip").encoders[0]
    assert (encoder.dimension, encoder.licence[:3]) == (512, "MIT")
    np.testing.assert_allclose(encoder.encode(LATITUDE, LONGITUDE), expected, atol=2e-5)


def test_geoclip_without_its_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match="pip install --no-deps geoclip"):
        load_place_features("geoclip")


@pytest.mark.parametrize("content", [b"no weights", None])
def test_geoclip_refuses_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    path = tmp_path / geoclip.WEIGHTS
    path.parent.mkdir(parents=True)
    if content is None:
        torch.save({"LocEnc0.capsule.0.b": torch.zeros(256, 2)}, path)
    else:
        path.write_bytes(content)
    spec = importlib.util.spec_from_file_location("geoclip", tmp_path / "__init__.py")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    with pytest.raises(ModelError, match="missing" if content is None else "cannot be read"):
        load_place_features("geoclip")


def test_geoclip_is_never_imported() -> None:
    import sys

    if importlib.util.find_spec("geoclip") is not None:
        load_place_features("geoclip")
    assert "geoclip" not in sys.modules


def test_unknown_coordinates_have_no_features_and_batches_do_not_matter(tmp_path: Path) -> None:
    encoder = climplicit(tiny_climplicit(tmp_path))
    latitude, longitude = np.linspace(-90, 90, 2500), np.linspace(-180, 180, 2500)
    latitude[7], longitude[9] = np.nan, np.inf
    features = encoder.encode(latitude, longitude)
    assert np.flatnonzero(np.isnan(features).any(axis=1)).tolist() == [7, 9]
    assert np.isnan(features[[7, 9]]).all()
    alone = encoder.encode(latitude[2400:2401], longitude[2400:2401])
    np.testing.assert_allclose(alone[0], features[2400], atol=1e-5)
    assert encoder.encode([], []).shape == (0, 20)


def test_places_outside_the_world_are_refused(tmp_path: Path) -> None:
    encoder = climplicit(tiny_climplicit(tmp_path))
    with pytest.raises(ModelError, match="found 2 places outside"):
        encoder.encode([0.0, 91.0, 0.0], [0.0, 0.0, 180.5])


def test_features_stand_behind_the_covariates_under_the_name_of_their_weights(tmp_path: Path) -> None:
    first = tiny_climplicit(tmp_path / "a", seed=0)
    second = tiny_climplicit(tmp_path / "b", seed=1)
    matrix = np.arange(14, dtype=np.float32).reshape(7, 2)
    places = load_place_features("covariates+climplicit", str(first))
    joined, names = places.append(matrix, ("bio1", "bio12"), LATITUDE, LONGITUDE)
    assert (joined.shape, joined.dtype) == ((7, 22), np.float32)
    assert np.array_equal(joined[:, :2], matrix)
    assert np.array_equal(joined[:, 2:], places.encoders[0].encode(LATITUDE, LONGITUDE))
    identity = places.encoders[0].identity
    assert names[:3] == ("bio1", "bio12", f"climplicit.{identity[:8]}.0")
    assert len(set(names)) == 22
    alone, labels = load_place_features("climplicit", str(first)).append(matrix, ("x", "y"), LATITUDE, LONGITUDE)
    assert np.array_equal(alone, joined[:, 2:])
    assert labels == names[2:]
    other = load_place_features("covariates+climplicit", {"climplicit": str(second)})
    assert other.append(matrix, ("bio1", "bio12"), LATITUDE, LONGITUDE)[1][2] != names[2]
    assert other.identity != places.identity


def test_the_default_is_the_covariates_alone() -> None:
    matrix = np.zeros((2, 1), dtype=np.float32)
    places = load_place_features()
    assert places.append(matrix, ("bio1",), [0.0, 1.0], [0.0, 1.0]) == (matrix, ("bio1",))
    assert places.identity == "covariates"


@pytest.mark.parametrize(
    ("name", "location", "message"),
    [
        ("satclip", None, "unknown location encoder"),
        ("covariates+covariates", None, "different ones"),
        ("", None, "unknown location encoder"),
        ("climplicit", None, "expected a location for"),
        ("covariates", "x", "none of its parts"),
        ("climplicit", {"geoclip": "x"}, "expected a location for"),
    ],
)
def test_bad_requests(name: str, location: str | dict[str, str] | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_place_features(name, location)
