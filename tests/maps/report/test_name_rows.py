"""What the gate of names did, in rows and on the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maps.comparison.name_effect import EFFECT_COLUMNS, ERROR_COLUMNS, NamesTold
from maps.report.inputs import ReportInputs
from maps.report.name_rows import name_section

if TYPE_CHECKING:
    from tests.maps.report.conftest import Page


def names_told() -> NamesTold:
    counts = pd.DataFrame(
        [("species", "photo", 700, 0), ("species", "votes", 100, 37), ("genus", "coarser", 60, 0),
         ("none", "contradicted_by_votes", 100, 0), ("none", "not_a_plant", 40, 0)],
        columns=["rank", "reason", "n", "renamed"],
    )  # fmt: skip
    effect = pd.DataFrame(
        [("height", 90, 3, 1, 0.05, 0.2, 0.011), ("wood_density", 0, 0, 0, np.nan, np.nan, np.nan)],
        columns=list(EFFECT_COLUMNS),
    )
    errors = pd.DataFrame([("truth", "height", 80, 0.4567, 0.4321)], columns=list(ERROR_COLUMNS))
    return NamesTold(counts, effect, errors)


def test_names_are_told_where_there_was_a_gate(
    inputs: ReportInputs, report: Page, report_of: Callable[[ReportInputs, Path], Page], tmp_path: Path
) -> None:
    assert "names" not in report.ids
    told = report_of(replace(inputs, names=names_told()), tmp_path)
    section = told.markup[told.markup.index('<section id="names">') :]
    section = " ".join(section[: section.index("</section>")].split())
    for words in (
        "1,000 stated names",
        "80.0 %",
        "37 of them under the name",
        "14.0 %",
        "votes agree on another name",
        "0.457",
        "0.432",
        "1.1 %",
    ):
        assert words in section
    assert "#names" in told.links


def test_set_aside_reasons_come_largest_first(inputs: ReportInputs) -> None:
    section = name_section(replace(inputs, names=names_told()))
    assert section is not None
    assert [row["n"] for row in section["ranks"]] == [800, 60, 0, 140]
    assert [n for _, n in section["ranks"][3]["reasons"]] == [100, 40]
    assert section["effect"][1]["difference"] is None
