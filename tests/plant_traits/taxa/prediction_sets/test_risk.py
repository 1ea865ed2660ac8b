"""Weights of species at risk, and the list they come from."""

from pathlib import Path

import numpy as np
import pytest

from plant_traits.errors import ModelError, TableError
from plant_traits.taxa.prediction_sets.risk import read_species_at_risk, risk_weights

CLASSES = ("Quercus robur", "Isoetes lacustris", "Ophrys apifera", "Bellis perennis")


def test_weights_are_matched_by_canonical_name_and_sum_to_one() -> None:
    found = risk_weights(CLASSES, ["Isoëtes lacustris L.", "Ophrys_apifera", "Galium aparine", "Rosa sp."], 5.0)
    assert found.at_risk.tolist() == [False, True, True, False]
    np.testing.assert_allclose(found.weights, np.array([1, 5, 5, 1]) / 12, rtol=1e-15)
    assert found.not_classes == ("Galium aparine",)
    assert found.unreadable == ("Rosa sp.",)


def test_no_list_weighs_all_alike() -> None:
    found = risk_weights(CLASSES, [], 5.0)
    assert found.weights.tolist() == [0.25] * 4 and not found.at_risk.any()


def test_the_list_is_read(tmp_path: Path) -> None:
    path = tmp_path / "risk.csv"
    path.write_text('\ufeffspecies,status\n"Ophrys apifera, Huds.",EN\n,VU\n  Bellis perennis ,CR\n', encoding="utf-8")
    assert read_species_at_risk(path) == ("Ophrys apifera, Huds.", "Bellis perennis")


@pytest.mark.parametrize("content", [b"name\nOphrys apifera\n", b"", b"species\n\xff\xfe\x00\n", b'species\n"a\n'])
def test_bad_lists_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "risk.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match="species at risk"):
        read_species_at_risk(path)
    with pytest.raises(TableError, match="species at risk"):
        read_species_at_risk(tmp_path / "absent.csv")


@pytest.mark.parametrize(("classes", "gamma"), [(CLASSES, 0.5), (CLASSES, float("inf")), ((), 2.0)])
def test_bad_weights_are_refused(classes: tuple[str, ...], gamma: float) -> None:
    with pytest.raises(ModelError, match="species at risk"):
        risk_weights(classes, [], gamma)
