from pathlib import Path

import numpy as np
import pytest

from data_catalog import ModelSettings
from plant_traits.errors import ModelError
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.network_presets import build_network, fit_scalings, network_config
from plant_traits.model.published_network import PublishedNetwork
from plant_traits.model.standardisation import fit_standardisation

PUBLISHED = ModelSettings(
    network="planttraitnet-published", encoder="dinov2-tokens+depth-anything", hidden=7, blocks=1, dropout=0.0
)


def test_the_default_takes_its_shape_from_the_settings() -> None:
    config = network_config(ModelSettings(hidden=32, blocks=1, dropout=0.1), 12, 5, 3)
    assert config == NetworkConfig(12, 5, 3, hidden=32, blocks=1, dropout=0.1, preset="default")
    assert isinstance(build_network(config), TraitNetwork)


def test_the_published_preset_has_its_own_shape() -> None:
    config = network_config(PUBLISHED, 96 * 2, 5, 3)
    assert (config.hidden, config.blocks, config.dropout) == (1024, 8, 0.2)
    assert isinstance(build_network(config), PublishedNetwork)


def test_the_published_preset_wants_its_encoders() -> None:
    with pytest.raises(ModelError, match=r"expected the encoder dinov2-tokens\+depth-anything"):
        network_config(ModelSettings(network="planttraitnet-published"), 1280, 5, 3)


def test_a_published_checkpoint_is_for_the_published_preset_alone(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.network_start"):
        build_network(NetworkConfig(12, 5, 3, 8, 1, 0.1), tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="cannot be read"):
        build_network(NetworkConfig(96, 5, 3, 8, 1, 0.1, "planttraitnet-published"), tmp_path / "x.safetensors")


def test_scalings_of_the_default_standardise_everything() -> None:
    generator = np.random.default_rng(0)
    image, place, targets = (generator.normal(3, 2, (50, columns)) for columns in (4, 2, 3))
    weight = generator.random(50)
    config = NetworkConfig(4, 2, 3, 8, 1, 0.1)
    found = fit_scalings(config, image, place, ("bio1", "bio12"), targets, weight)
    expected = [fit_standardisation(image), fit_standardisation(place), fit_standardisation(targets, weight)]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.centre, other.centre)
        assert np.array_equal(one.scale, other.scale)


def test_scalings_of_the_published_preset() -> None:
    image = np.array([[5.0, -7.0], [1.0, 2.0]])
    place = np.array([[10.0, 0.3], [20.0, 0.9]])
    targets = np.array([[-2.0, 4.0, np.nan], [6.0, 4.0, np.nan], [np.nan, np.nan, np.nan]])
    config = NetworkConfig(96, 2, 3, 8, 1, 0.1, "planttraitnet-published")
    names = ("bio1", "climplicit.0a1b2c3d.0")
    of_image, of_place, of_target = fit_scalings(config, image, place, names, targets, np.ones(3))
    assert of_image.apply(image * 100).tolist() == (image * 100).tolist()  # as they are, and never cut off
    np.testing.assert_allclose(of_place.apply(place), [[-1.0, 0.3], [1.0, 0.9]], rtol=1e-6)
    assert of_target.centre[:2].tolist() == pytest.approx([-2.0, 4.0])
    assert of_target.scale.tolist() == pytest.approx([8.0, 1.0, 1.0])
    assert ((targets[0, 0] - of_target.centre[0]) / of_target.scale[0], of_target.invert([[1.0, 0, 0]])[0, 0]) == (
        pytest.approx(0.0),
        pytest.approx(6.0),
    )
