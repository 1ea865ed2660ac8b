"""The rows of scores and of differences."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from maps.report.inputs import ReportInputs
from maps.report.score_rows import difference_rows, score_tables
from plant_traits.errors import InputError


def test_the_best_is_marked_on_shared_cells_only(inputs: ReportInputs) -> None:
    tables = score_tables(inputs)
    assert [(t["scale"], t["shared"]) for t in tables] == [
        ("natural logarithm", True), ("natural logarithm", False), ("natural scale", True),
    ]  # fmt: skip
    ours, other = tables[0]["rows"]
    assert ours["published"] and not other["published"]
    assert ours["scores"][0]["best"] == {"pearson_r": False, "r2": True, "nmae": True}
    assert other["scores"][0]["best"] == {"pearson_r": True, "r2": False, "nmae": False}
    assert other["scores"][1] is None  # it has no wood density
    assert not any(any(row["scores"][0]["best"].values()) for row in tables[1]["rows"])


def test_doubled_scores_are_refused(inputs: ReportInputs) -> None:
    with pytest.raises(InputError, match="twice"):
        score_tables(replace(inputs, scores=pd.concat([inputs.scores, inputs.scores.iloc[:1]])))


def test_a_difference_is_clear_only_when_its_interval_leaves_out_zero(inputs: ReportInputs) -> None:
    assert [row["distinct"] for row in difference_rows(inputs)] == [True, False]
