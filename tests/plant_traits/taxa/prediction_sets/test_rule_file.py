"""Rules survive a file, and are refused where they are damaged or of another model."""

from pathlib import Path

import numpy as np
import pytest

from plant_traits.errors import ModelError
from plant_traits.taxa.prediction_sets.rule_file import load_rule, save_rule
from plant_traits.taxa.prediction_sets.scores import make_score
from plant_traits.taxa.prediction_sets.thresholds import SetRule

SPECIES = ("Acer campestre", "Bellis perennis", "Carex nigra")
RULE = SetRule(make_score("pas", 3, [0.5, 0.5, 0.0]), 0.9, np.array([-0.5, np.inf, -0.25]), fill_empty=True)


def test_a_rule_survives(tmp_path: Path) -> None:
    save_rule(RULE, SPECIES, tmp_path / "rule")
    read = load_rule(tmp_path / "rule", SPECIES)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    assert np.array_equal(read.members(probabilities), RULE.members(probabilities))
    assert np.array_equal(read.thresholds, RULE.thresholds)
    assert (read.level, read.score.kind, read.fill_empty) == (0.9, "pas", True)


def test_other_species_are_refused(tmp_path: Path) -> None:
    save_rule(RULE, SPECIES, tmp_path / "rule")
    with pytest.raises(ModelError, match="2 differ"):
        load_rule(tmp_path / "rule", (SPECIES[0], SPECIES[2], SPECIES[1]))
    with pytest.raises(ModelError, match="found 3 of which 1 differ"):
        load_rule(tmp_path / "rule", SPECIES[:2])
    with pytest.raises(ModelError, match="expected 3 species, found 2"):
        save_rule(RULE, SPECIES[:2], tmp_path / "other")


def test_damaged_rules_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rule"
    save_rule(RULE, SPECIES, path)
    whole = path.read_bytes()
    nan = whole.replace(np.float64(-0.25).tobytes(), np.float64(np.nan).tobytes())
    for content in (b"", whole[:-9], whole.replace(b"name-sets-1", b"name-sets-7"), whole.replace(b"pas", b"gas"), nan):
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(ModelError, match="calibrate again"):
            load_rule(path, SPECIES)
    with pytest.raises(ModelError, match="calibrate again"):
        load_rule(tmp_path / "absent", SPECIES)
