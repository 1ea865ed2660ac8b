"""The random streams of a training: none is drawn from twice."""

import numpy as np

from data_catalog import ModelSettings
from plant_traits.model.course import Course
from plant_traits.model.labels import LabelRecords
from plant_traits.model.member import HELD_OUT_EPOCH
from plant_traits.model.network import NetworkConfig
from plant_traits.model.network_presets import build_network

SETTINGS = ModelSettings(hidden=8, blocks=1)


def order_of(seed: int) -> np.random.Generator:
    network = build_network(NetworkConfig(image_dimension=2, covariates=2, traits=1, hidden=8, blocks=1, dropout=0.0))
    return Course.start(network, SETTINGS, 1, seed).order


def test_the_order_of_the_rows_is_of_no_stream_that_labels_are_drawn_from() -> None:
    draws = order_of(1000).random(8)
    labels = [np.random.default_rng([1000, epoch]).random(8) for epoch in (*range(60), HELD_OUT_EPOCH)]
    records = LabelRecords(np.arange(1e6), np.array([0, 1_000_000]), (("t", "s"),), np.zeros((8, 1), np.int32))
    picked = [records.draw(1000, epoch)[:, 0] / 1e6 for epoch in range(60)]
    for other in (*labels, *picked):
        assert np.abs(np.sort(other) - np.sort(draws)).max() > 1e-3


def test_members_have_an_order_of_their_own_and_repeat_it() -> None:
    assert order_of(1000).random() == order_of(1000).random()
    assert len({order_of(seed).random() for seed in range(1000, 1020)}) == 20
