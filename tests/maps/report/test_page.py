"""The report page: complete, self-contained, escaped and repeatable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from maps.report.inputs import ReportInputs
from maps.report.markdown_summary import summary_markdown
from plant_traits.errors import InputError
from plant_traits.schemas import SCORE

if TYPE_CHECKING:
    from tests.maps.report.conftest import Page

ReportOf = Callable[[ReportInputs, Path], "Page"]


def test_the_page_is_well_formed_and_every_fragment_link_has_its_target(report: Page) -> None:
    assert report.open == []
    fragments = {link[1:] for link in report.links if link.startswith("#")}
    assert fragments <= set(report.ids)
    assert {"trait-height", "trait-wood-density", "comparison", "ledger"} <= fragments
    assert len(report.ids) == len(set(report.ids))


def test_the_page_loads_nothing_from_elsewhere(report: Page) -> None:
    assert "script" not in report.tags
    assert "link" not in report.tags
    assert report.sources
    assert all(source.startswith("data:image/png;base64,") for source in report.sources)
    assert "url(" not in report.markup
    assert "@import" not in report.markup
    outside = [link for link in report.links if not link.startswith("#")]
    assert outside == ["https://doi.org/10.1/a%20b", "product.zarr"]


def test_hostile_text_is_shown_as_text(report: Page, inputs: ReportInputs) -> None:
    assert "<script" not in report.markup
    assert "&lt;script&gt;alert" in report.markup
    assert inputs.notes[0] in report.text
    assert "<script" not in summary_markdown(inputs)


@pytest.mark.parametrize(
    "expected",
    [
        "6,432 records", "6,120 records", "duplicate record", "202", "110", "312",  # harvest and what it lost
        "6,000", "13 shards", "117", "120",  # predict
        "90 cells mapped", "8 of them mostly from photos", "200 photos in the mapped cells",  # 6 x 15, 2 x 4, 8 x 25
        "0.55–0.67", "−0.12", "1,357", "2,468",  # scores
        "−0.15 to −0.02", "+0.01", "not distinguishable",  # differences
        "48.1 %", "87.6 %", "812",  # coverage
        "0.7654", "−0.25", "30",  # training
        "gbif.zip", "123.5 kB", "0123456789abcdef", "0.1.0", "inputs.world.seed",  # provenance
        "CC BY 4.0", "doi:10.1/a b", "javascript:alert(1)",  # citations and files, the last as text only
        "Virtual world: simulated data.", "Wood density", "g cm⁻³",
    ],
)  # fmt: skip
def test_the_page_holds_every_count_score_and_source(report: Page, expected: str) -> None:
    assert expected in report.text


def test_every_trait_has_its_maps_and_scatter(report: Page, inputs: ReportInputs) -> None:
    assert len(inputs.traits) == 5
    assert len(report.sources) == 5 * (4 + 1) + 1  # and the reliability plot


def test_the_same_run_gives_the_same_page(inputs: ReportInputs, report_of: ReportOf, tmp_path: Path) -> None:
    small = replace(inputs, traits=inputs.traits[:1])
    assert report_of(small, tmp_path).markup == report_of(replace(small), tmp_path).markup


def test_a_real_run_carries_no_banner(inputs: ReportInputs, report_of: ReportOf, tmp_path: Path) -> None:
    text = report_of(replace(inputs, simulated=False, references={}, traits=inputs.traits[:1]), tmp_path).text
    assert "simulated" not in text
    assert "Virtual world" not in text


def test_a_run_without_scores_stages_or_citations_still_has_a_page(
    inputs: ReportInputs, report_of: ReportOf, tmp_path: Path
) -> None:
    bare = replace(
        inputs, scores=pd.DataFrame(columns=SCORE.names), differences=None, coverage=None, references={}, stages=(),
        inputs=(), citations=(), versions={}, training={}, outputs={}, notes=(), profile={}, traits=inputs.traits[:1],
    )  # fmt: skip
    text = report_of(bare, tmp_path).text
    assert "compared with no reference" in text
    assert "No stage reported" in text
    assert summary_markdown(bare).startswith("# A run\n")
    assert report_of(replace(bare, scores=pd.DataFrame()), tmp_path).open == []


def test_a_trait_without_any_value_still_has_its_section(
    inputs: ReportInputs, report_of: ReportOf, tmp_path: Path
) -> None:
    empty = inputs.product.copy()
    empty["value"] = empty["value"].where(empty["trait"] != "height")
    empty["location"] = empty["location"].where(empty["trait"] != "height")
    for name in ("standard_error", "n_photos"):
        empty[name] = empty[name].where(empty["trait"] != "height")
    empty["source"] = empty["source"].where(empty["trait"] != "height", 0)
    text = report_of(replace(inputs, product=empty, traits=inputs.traits[:2]), tmp_path).text
    assert "cells mapped 0 mostly from photos 0" in text


def test_an_absent_trait_or_variable_is_named(inputs: ReportInputs, report_of: ReportOf, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wood_density"):
        report_of(replace(inputs, product=inputs.product.drop_sel(trait="wood_density")), tmp_path)
    with pytest.raises(InputError, match="standard_error"):
        report_of(replace(inputs, product=inputs.product.drop_vars("standard_error")), tmp_path)


def test_intervals_against_plots_have_a_table(
    inputs: ReportInputs, report: Page, report_of: ReportOf, tmp_path: Path
) -> None:
    table = pd.DataFrame(
        {
            "trait": "height",
            "biome": [None, None, "arid"],
            "kind": ["rich", "all", "rich"],
            "n": [40, 64, 8],
            "raw_50": [0.25, 0.5, 0.125],
            "calibrated_50": [0.48, 0.52, 0.25],
            "raw_95": [0.61, 0.75, 0.5],
            "calibrated_95": [0.94, 0.96, 0.875],
            "rmse": [0.1234, 0.25, 0.5],
        }
    )
    words = report_of(replace(inputs, plot_coverage=table), tmp_path).text
    assert "Intervals against vegetation plots" in words
    assert "of 20 photos or more 48 % (25) 94 % (61) 0.12 40" in words
    assert "all with plots 52 % (50) 96 % (75) 0.25 64" in words
    assert "88 %" not in words  # biomes are in the file, not on the page
    assert "Intervals against vegetation plots" not in report.text
