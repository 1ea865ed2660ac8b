"""The report page and its Markdown summary: complete, self-contained, escaped and repeatable."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data_catalog import Trait, load_catalog
from maps.comparison.name_effect import EFFECT_COLUMNS, ERROR_COLUMNS, NamesTold
from maps.product.layers import APPLICABILITY
from maps.report import typography
from maps.report.markdown_summary import summary_markdown
from maps.report.name_rows import name_section
from maps.report.page import ReportInputs, StageRecord, write_report
from maps.report.score_rows import difference_rows, score_tables
from maps.report.tables import flatten
from plant_traits.errors import InputError
from plant_traits.grid import Grid
from plant_traits.schemas import SCORE

GRID = Grid.parse("10deg")
HOSTILE = "Rosa <script>alert('x')</script> & \"canina\""
WOOD = Trait(
    id="wood_density",
    name="Wood density",
    definition="Dry mass over fresh volume.",
    unit="g cm-3",
    working_space="identity",
    valid_range=(0.05, 1.5),
)


def product(traits: list[Trait]) -> xr.Dataset:
    rng = np.random.default_rng(5)
    shape = (len(traits), *GRID.shape)
    location = rng.normal(0.6, 0.2, shape).astype("float32")
    source = np.zeros(shape, "uint8")
    source[:, 3:9, 5:20] = 2
    source[:, 4:6, 8:12] = 1
    shown = source > 0
    natural = np.stack([np.exp(x) if t.working_space == "ln" else x for t, x in zip(traits, location, strict=True)])
    layers = {
        "value": natural,
        "median": natural,
        "location": location,
        "standard_error": np.full(shape, 0.2, "float32"),
        "n_photos": np.where(source == 1, 25, 0).astype("float32"),
        "photo_share": np.where(source == 1, 0.75, 0).astype("float32"),
        "dissimilarity": np.full(shape, 0.3, "float32"),
    }
    data = {name: (("trait", "lat", "lon"), np.where(shown, layer, np.nan)) for name, layer in layers.items()}
    data["source"] = data["quality"] = (("trait", "lat", "lon"), source)
    applicability = np.where(shown, 0, APPLICABILITY["none"]).astype("uint8")
    applicability[:, 3:5, 14:18] = APPLICABILITY["outside"]
    data["applicability"] = (("trait", "lat", "lon"), applicability)
    return xr.Dataset(data, coords={"trait": [t.id for t in traits], "lat": GRID.lat, "lon": GRID.lon})


def score_row(**values: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(SCORE.names, 0.5)
    row.update({"map": "random_effects", "reference": "truth", "trait": "height", "scale": "ln", "cells": "shared"})
    row.update({"n": 1357, "pearson_r": 0.612, "pearson_r_low": 0.55, "pearson_r_high": 0.667, "r2": -0.123})
    return row | {"nmae": 0.11} | values


def scores() -> pd.DataFrame:
    rows = [
        score_row(),
        score_row(map="virtual-inat", pearson_r=0.701, r2=-0.5, nmae=0.2),
        score_row(cells="own", n=2468),
        score_row(map="virtual-inat", cells="own", n=97),
        score_row(trait="wood_density", pearson_r=0.333),
        score_row(scale="natural", pearson_r=0.4321),
    ]
    return pd.DataFrame(rows)[SCORE.names]


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    traits = [*load_catalog().traits.values(), WOOD]
    made = product(traits)
    truth = made[["location"]] + 0.1
    return ReportInputs(
        title="A run",
        profile={"id": "tiny", "inputs": {"world": {"seed": 20}}, "traits": ["height", "wood_density"]},
        region="world",
        month="2026-10",
        grid="10deg",
        product=made,
        traits=traits,
        scores=scores(),
        differences=pd.DataFrame(
            [
                ("height", "random_effects", "virtual-inat", -0.089, -0.15, -0.02),
                ("height", "random_effects", "mean", 0.01, -0.03, 0.05),
            ],
            columns=["trait", "map_a", "map_b", "difference", "low", "high"],
        ),
        coverage=pd.DataFrame({"trait": "height", "level": [0.5, 0.9], "coverage": [0.4812, 0.8765], "n": 812}),
        references={"truth": truth},
        stages=(
            StageRecord("harvest", "a" * 64, {"records_in": 6432, "records_out": 6120},
                        {"duplicate_record": 202, HOSTILE: 110}, "observations/"),
            StageRecord("predict", "b" * 64, {"in": 6120, "out": 6000, "shards": 13},
                        {"corrupt": 117, "missing": 3}, "predictions/"),
        ),
        inputs=({"name": "gbif.zip", "source": "gbif", "bytes": 123456, "sha256": "0123456789abcdef" * 4},),
        citations=({"title": "GBIF", "licence": "CC BY 4.0", "doi": "10.1/a b", "citation": "GBIF.org"},),
        versions={"plant-traits": "0.1.0"},
        training={"height": {"held_out": {"r": 0.7654, "nll": -0.25}}, "epochs": 30},
        outputs={"Zarr": "product.zarr", "elsewhere": "javascript:alert(1)"},
        simulated=True,
        notes=(HOSTILE,),
        published_map="random_effects",
    )  # fmt: skip


def page_of(inputs: ReportInputs, folder: Path) -> str:
    write_report(inputs, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(inputs, tmp_path_factory.mktemp("report"))


class Collector(HTMLParser):
    """Collect tags, addresses and text; complain about tags that close what is not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.links += [found["href"] or ""] if "href" in found else []
        self.sources += [found["src"] or ""] if "src" in found else []
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag not in ("meta", "img", "br", "rect", "path", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_is_well_formed_and_every_fragment_link_has_its_target(page: str) -> None:
    parsed = Collector(page)
    assert parsed.open == []
    fragments = {link[1:] for link in parsed.links if link.startswith("#")}
    assert fragments <= set(parsed.ids)
    assert {"trait-height", "trait-wood-density", "comparison", "ledger"} <= fragments
    assert len(parsed.ids) == len(set(parsed.ids))


def test_the_page_loads_nothing_from_elsewhere(page: str) -> None:
    parsed = Collector(page)
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    assert parsed.sources
    assert all(source.startswith("data:image/png;base64,") for source in parsed.sources)
    assert "url(" not in page
    assert "@import" not in page
    outside = [link for link in parsed.links if not link.startswith("#")]
    assert outside == ["https://doi.org/10.1/a%20b", "product.zarr"]


def test_hostile_text_is_shown_as_text(page: str, inputs: ReportInputs) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert" in page
    assert HOSTILE in Collector(page).text
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
def test_the_page_holds_every_count_score_and_source(page: str, expected: str) -> None:
    assert expected in Collector(page).text


def test_every_trait_has_its_maps_and_scatter(page: str, inputs: ReportInputs) -> None:
    assert len(inputs.traits) == 5
    assert len(Collector(page).sources) == 5 * (4 + 1) + 1  # and the reliability plot


def test_the_same_run_gives_the_same_page(inputs: ReportInputs, tmp_path: Path) -> None:
    small = replace(inputs, traits=inputs.traits[:1])
    assert page_of(small, tmp_path) == page_of(replace(small), tmp_path)


def test_a_real_run_carries_no_banner(inputs: ReportInputs, tmp_path: Path) -> None:
    text = Collector(page_of(replace(inputs, simulated=False, references={}, traits=inputs.traits[:1]), tmp_path)).text
    assert "simulated" not in text
    assert "Virtual world" not in text


def test_a_run_without_scores_stages_or_citations_still_has_a_page(inputs: ReportInputs, tmp_path: Path) -> None:
    bare = replace(
        inputs, scores=pd.DataFrame(columns=SCORE.names), differences=None, coverage=None, references={}, stages=(),
        inputs=(), citations=(), versions={}, training={}, outputs={}, notes=(), profile={}, traits=inputs.traits[:1],
    )  # fmt: skip
    text = Collector(page_of(bare, tmp_path)).text
    assert "compared with no reference" in text
    assert "No stage reported" in text
    assert summary_markdown(bare).startswith("# A run\n")
    assert page_of(replace(bare, scores=pd.DataFrame()), tmp_path)


def test_a_trait_without_any_value_still_has_its_section(inputs: ReportInputs, tmp_path: Path) -> None:
    empty = inputs.product.copy()
    empty["value"] = empty["value"].where(empty["trait"] != "height")
    empty["location"] = empty["location"].where(empty["trait"] != "height")
    for name in ("standard_error", "n_photos"):
        empty[name] = empty[name].where(empty["trait"] != "height")
    empty["source"] = empty["source"].where(empty["trait"] != "height", 0)
    text = Collector(page_of(replace(inputs, product=empty, traits=inputs.traits[:2]), tmp_path)).text
    assert "cells mapped 0 mostly from photos 0" in text


def test_an_absent_trait_or_variable_is_named(inputs: ReportInputs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wood_density"):
        page_of(replace(inputs, product=inputs.product.drop_sel(trait="wood_density")), tmp_path)
    with pytest.raises(InputError, match="standard_error"):
        page_of(replace(inputs, product=inputs.product.drop_vars("standard_error")), tmp_path)


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


def test_the_summary_tells_scores_and_counts(inputs: ReportInputs) -> None:
    text = summary_markdown(inputs)
    assert "| Plant height | truth | 0.61 | 0.55–0.67 | −0.12 | 0.11 | 1,357 |" in text
    assert "| predict | 6,120 | 6,000, 13 shards | 120 (corrupt 117, missing 3) |" in text
    assert "- Zarr: `product.zarr`" in text
    assert "simulated data" in text
    assert all(line.count("|") in (0, 5, 8) for line in re.sub(r"\\\|", "", text).splitlines())


def test_profiles_flatten_to_paths() -> None:
    nested = {"a": {"b": 1, "c": [1.5, 2.0]}, "d": [{"e": None}, {"e": True}], "f": []}
    assert flatten(nested) == [
        ("a.b", "1"), ("a.c", "1.5, 2"), ("d.1.e", "–"), ("d.2.e", "yes"), ("f", "–"),
    ]  # fmt: skip


def test_numbers_and_units_are_set_plainly() -> None:
    assert [typography.unit_text(u) for u in ("m2 kg-1", "mm2", "mg g-1", "m")] == ["m² kg⁻¹", "mm²", "mg g⁻¹", "m"]
    assert [typography.number_text(x) for x in (-0.5, -0.001, None, float("nan"))] == ["−0.50", "0.00", "–", "–"]
    assert [typography.quantity_text(x) for x in (1234.5, 0.04567, 0, 9.999)] == ["1,230", "0.0457", "0", "10.0"]
    assert [typography.signed_text(x) for x in (0.02, -0.02, 0.0)] == ["+0.02", "−0.02", "0.00"]
    assert [typography.bytes_text(x) for x in (999, 1500, 2_000_000)] == ["999 B", "1.5 kB", "2.0 MB"]
    assert typography.interval_text(0.1, 0.2) == "0.10–0.20"
    assert typography.interval_text(-0.1, 0.2) == "−0.10 to 0.20"


def test_intervals_against_plots_have_a_table(inputs: ReportInputs, tmp_path: Path) -> None:
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
    page = page_of(replace(inputs, plot_coverage=table), tmp_path)
    assert "Intervals against vegetation plots" in page
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "of 20 photos or more 48 % (25) 94 % (61) 0.12 40" in words
    assert "all with plots 52 % (50) 96 % (75) 0.25 64" in words
    assert "88 %" not in words  # biomes are in the file, not on the page
    assert "Intervals against vegetation plots" not in page_of(inputs, tmp_path)


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


def test_names_are_told_where_there_was_a_gate(inputs: ReportInputs, page: str, tmp_path: Path) -> None:
    assert 'id="names"' not in page
    told = page_of(replace(inputs, names=names_told()), tmp_path)
    Collector(told)
    section = told[told.index('<section id="names">') :]
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
    assert 'href="#names"' in told


def test_set_aside_reasons_come_largest_first(inputs: ReportInputs) -> None:
    section = name_section(replace(inputs, names=names_told()))
    assert section is not None
    assert [row["n"] for row in section["ranks"]] == [800, 60, 0, 140]
    assert [n for _, n in section["ranks"][3]["reasons"]] == [100, 40]
    assert section["effect"][1]["difference"] is None
