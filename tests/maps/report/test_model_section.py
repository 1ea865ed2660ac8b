"""The report's section on the model: tables, figures, and pages of runs that have no such scores."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from data_catalog import Trait
from maps.report.figures_model import CoveragePanel, PitPanel, draw_photo_reliability, draw_pit
from maps.report.model_section import coverage_panels, model_section, pit_panels
from maps.report.page import ReportInputs, write_report
from plant_traits.schemas import SCORE

LEVELS = [0.5, 0.8, 0.9, 0.95]


def score(**values: object) -> dict[str, Any]:
    return {
        "n": 399, "pearson_r": 0.7654, "r2": -0.4321, "rmse": 0.5, "nmae": 0.1234, "gaussian_nll": 1.3579,
        "gaussian_nll_as_predicted": 1.8642, "crps": 0.2468, "crps_as_predicted": 0.3579,
        "coverage": {"level": LEVELS, "as_predicted": [0.3, 0.6, 0.71, 0.8], "scaled": [0.5, 0.8, 0.88, 0.93],
                     "conformal": [0.51, 0.79, 0.91, 0.96], "unbounded": [0, 0, 0, 0]},
        "pit": {"as_predicted": [60, 40, 30, 30, 30, 30, 30, 40, 50, 59], "calibrated": [40] * 9 + [39]},
        "by_growth_form": {"tree": {"n": 3}},
    } | values  # fmt: skip


def training() -> dict[str, Any]:
    uncalibrated = score(
        gaussian_nll=None, crps=None, n=88, by_growth_form={},
        coverage={"level": LEVELS, "as_predicted": [0.1, 0.2, 0.3, 0.4], "scaled": None, "conformal": None},
        pit={"as_predicted": [10] * 10, "calibrated": None},
    )  # fmt: skip
    within = {"pearson_r": 0.4999, "n": 347, "groups": 87}
    return {
        "counts": {"records": 6161},
        "held_out": {
            "image+geospatial": {"height": score(), "sla": uncalibrated},
            "geospatial": {"height": score(n=521), "wood_density": score(n=23)},
        },
        "truth": {"image+geospatial": {"height": score(within_species=within)}},
        "within_species": {"geospatial": {"height": {"pearson_r": None, "n": 28, "groups": 12}}},
    }


def inputs_with(training: dict[str, Any], product: xr.Dataset, traits: list[Trait]) -> ReportInputs:
    return ReportInputs(
        title="A run", profile={}, region="world", month="2026-10", grid="15deg", product=product, traits=traits,
        scores=pd.DataFrame(columns=SCORE.names), differences=None, coverage=None, references={}, stages=(), inputs=(),
        citations=(), versions={}, training=training, outputs={}, simulated=True,
    )  # fmt: skip


@pytest.fixture
def inputs(make_product: Callable[..., xr.Dataset], product_traits: list[Trait]) -> ReportInputs:
    return inputs_with(training(), make_product(), product_traits[:2])


class Words(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def section_of(inputs: ReportInputs, folder: Path) -> tuple[str, str]:
    """Return the section's markup and its text."""
    write_report(inputs, folder / "report.html")
    page = (folder / "report.html").read_text(encoding="utf-8")
    markup = page[page.index('<section id="model">') : page.index('<section id="ledger">')]
    return markup, " ".join(" ".join(Words(markup).words).split())


def test_the_section_holds_scores_coverage_and_figures(inputs: ReportInputs, tmp_path: Path) -> None:
    markup, text = section_of(inputs, tmp_path)
    assert "Plant height image + geospatial 399 0.77 −0.43 0.12 1.36 1.86 0.247 0.358 –" in text
    assert "geospatial 521 0.77 −0.43 0.12 1.36 1.86 0.247 0.358 – 28 of 12 species" in text
    assert "0.50 347 of 87 species" in text  # of true values
    assert "Plant height all 399 51 % 30 % 79 % 60 % 91 % 71 % 96 % 80 %" in text
    assert "tree 3 – – – – – – – –" in text
    assert "all 88 – 10 % – 20 % – 30 % – 40 %" in text  # a trait without calibration
    assert "wood_density geospatial 23" in text  # not among the mapped traits
    assert markup.count("data:image/png;base64,") == 4  # reliability and PIT, of labels and of true values
    assert "Against labels" in text
    assert "Against true values" in text
    assert "promise nothing for species or regions unlike them" in text


def in_biomes(**held: float | None) -> dict[str, Any]:
    """Return scores by biome with that share within the 90 % interval, of 40 values, or of 4 where it is None."""
    return {
        biome: {"n": 4} if share is None else
        {"n": 40, "coverage": {"level": LEVELS, "conformal": [0.11, 0.22, share, 0.44], "as_predicted": [0.1] * 4}}
        for biome, share in held.items()
    }  # fmt: skip


def test_coverage_stands_by_biome_within_growth_form(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    height = score(
        by_biome=in_biomes(unknown=0.87, temperate=0.93, arid=0.86),
        by_growth_form={"herb": {"n": 4}, "tree": {"n": 44, "by_biome": in_biomes(arid=0.85, temperate=None)}},
    )
    uncalibrated = score(by_biome={"polar": {"n": 12, "coverage": {"level": LEVELS, "conformal": None}}})
    found = {"held_out": {"image+geospatial": {"height": height, "sla": uncalibrated}}}
    inputs = inputs_with(found, make_product(), product_traits[:1])
    (part,) = model_section(inputs)
    assert part["biomes"] == ["arid", "temperate", "polar", "unknown"]
    markup, text = section_of(inputs, tmp_path)
    table = text[text.index("Share of values within their 90 % conformal interval by biome") :]
    assert "trait growth form arid temperate polar unknown" in table
    assert "Plant height all 86 % 40 93 % 40 87 % 40 tree 85 % 40 – 4 sla all – 12" in table
    assert "herb" not in table[: table.index("Reliability")]
    assert markup.count("<td") == markup.count("</td>")


def test_scores_of_other_species_and_photos_stand_beside_those_of_other_regions(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    found = {
        "held_out": {"image+geospatial": {"height": score(), "sla": score(n=31)}, "image": {"height": score(n=400)}},
        "splits": {
            "species": {"image+geospatial": {"height": score(n=55, pearson_r=0.6)}, "image": {"height": score(n=401)}},
            "photos": {"image": {"height": score(n=402)}},
        },
        "truth": {"image+geospatial": {"height": score()}},
        "truth_splits": {"species": {}},
    }
    inputs = inputs_with(found, make_product(), product_traits[:1])
    _, text = section_of(inputs, tmp_path)
    table = text[text.index("What was held out") : text.index("Share of values")]
    assert "Plant height other regions 399 0.77 −0.43 0.12 1.36 0.247 91 % other species 55 0.60 −0.43" in table
    assert "sla other regions 31 " in table
    assert "40" not in table  # of photos alone
    assert [bool(part["splits"]) for part in model_section(inputs)] == [True, False]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "splits" not in page[page.index('<section id="training">') : page.index('<section id="run">')]


def test_runs_without_biomes_have_no_table_of_them(inputs: ReportInputs, tmp_path: Path) -> None:
    assert [part["by_biome"] for part in model_section(inputs)] == [[], []]
    assert "by biome" not in section_of(inputs, tmp_path)[1]


def test_the_table_of_training_leaves_those_scores_out(inputs: ReportInputs, tmp_path: Path) -> None:
    write_report(inputs, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    rest = page[page.index('<section id="training">') : page.index('<section id="run">')]
    assert "6161" in rest.replace(",", "")
    assert "held_out" not in rest
    assert "by_growth_form" not in rest


@pytest.mark.parametrize(
    "found",
    [{}, {"held_out": {}}, {"held_out": {"image": {}}}, {"height": {"r": 0.5}},
     {"held_out": {"image": {"height": {"n": 5, "pearson_r": 0.1}}}}],
)  # fmt: skip
def test_runs_without_such_scores_say_so(
    found: dict[str, Any], make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    inputs = inputs_with(found, make_product(), product_traits[:1])
    assert model_section(inputs) == []
    assert "No held-out record scored the model" in section_of(inputs, tmp_path)[1]


def test_panels_are_those_of_photos_with_their_place(inputs: ReportInputs) -> None:
    height, sla = coverage_panels(inputs, "held_out")
    assert height.name == "Plant height"
    assert list(height.lines) == ["as predicted", "variance calibrated", "conformal"]
    assert height.lines["conformal"].tolist() == [0.51, 0.79, 0.91, 0.96]
    assert list(sla.lines) == ["as predicted"]
    first, second = pit_panels(inputs, "held_out")
    assert first.calibrated == [40] * 9 + [39]
    assert second.calibrated is None


def test_figures_are_pictures_and_repeat(tmp_path: Path) -> None:
    level = np.array(LEVELS)
    coverage = [CoveragePanel(f"trait $x_{i}$", level, {"as predicted": level - 0.3}) for i in range(5)]
    pit = [PitPanel("a", [5] * 10, None), PitPanel("b", [0] * 10, [50] + [0] * 9)]
    for draw, panels in (
        (draw_photo_reliability, coverage),
        (draw_pit, pit),
        (draw_photo_reliability, []),
        (draw_pit, []),
    ):
        png = draw(panels)  # type: ignore[operator]
        assert png == draw(panels)  # type: ignore[operator]
        (tmp_path / "f.png").write_bytes(png)
        with Image.open(tmp_path / "f.png") as picture:
            assert picture.format == "PNG"
