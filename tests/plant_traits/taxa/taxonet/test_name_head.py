"""A head that starts at a feature space: its embeddings and cosines by hand, and that lengths do not count."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from plant_traits.taxa.taxonet.feature_space import FeatureSpace, fit_feature_space
from plant_traits.taxa.taxonet.name_head import HeadShape, head_of_space


@pytest.fixture(scope="module")
def space() -> FeatureSpace:
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(6), [40, 20, 8, 4, 2, 1])
    return fit_feature_space(3 * rng.normal(size=(6, 16))[labels] + rng.normal(size=(75, 16)), labels, 6, largest=13)


def test_it_starts_with_the_angles_between_photos_and_centres(space: FeatureSpace) -> None:
    features = np.random.default_rng(6).normal(size=(7, 16))
    x = ((features - space.mean) / space.deviation) @ space.axes @ space.contrast
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(space.centres, axis=1)
    head = head_of_space(space).eval()
    found = head(torch.from_numpy(features.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(found, x @ space.centres.T / lengths, atol=2e-5)


def test_its_weights_are_as_large_as_random_ones(space: FeatureSpace) -> None:
    head = head_of_space(space)
    rms = float(head.projection[1].weight.detach()[:5, :13].pow(2).mean().sqrt())
    # A uniform distribution between -b and b has a mean square of b² / 3, and torch's b is 1 / sqrt(inputs).
    assert rms == pytest.approx(1 / np.sqrt(3 * 13), rel=1e-5)
    assert head.shape == HeadShape(16, 0, 8, 6, 0.0, 16)


def test_axes_and_scaling_are_not_trained(space: FeatureSpace) -> None:
    trained = {name for name, _ in head_of_space(space, 0.2).named_parameters()}
    assert trained == {"projection.1.weight", "projection.1.bias", "vectors"}


def test_a_photo_has_the_same_cosines_wherever_it_stands_in_a_block(space: FeatureSpace) -> None:
    head = head_of_space(space).eval()
    features = torch.from_numpy(np.random.default_rng(7).normal(size=(64, 16)).astype(np.float32))
    order = torch.from_numpy(np.random.default_rng(8).permutation(64))
    assert (space.spread.size, space.axes.shape[1]) == (5, 13)  # products over such lengths do depend on the place
    with torch.inference_mode():
        assert torch.equal(head(features[order]), head(features)[order])


def test_what_fills_embeddings_up_stays_0(space: FeatureSpace) -> None:
    head = head_of_space(space)
    optimiser = torch.optim.AdamW(head.parameters(), lr=0.1)
    features = torch.from_numpy(np.random.default_rng(7).normal(size=(64, 16)).astype(np.float32))
    for _ in range(3):
        optimiser.zero_grad()
        functional.cross_entropy(8 * head(features), torch.arange(64) % 6).backward()
        optimiser.step()
    kinds = space.spread.size
    embedded = head.embed(features)
    assert embedded[:, :kinds].abs().min() > 0 and head.vectors[:, :kinds].abs().min() > 0
    assert (
        not head.projection[1].weight[:, 13:].any()
        and not embedded[:, kinds:].any()
        and not head.vectors[:, kinds:].any()
    )
