"""A run to report on, the page of it, and what a page of HTML holds."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data_catalog import Trait, load_catalog
from maps.product.layers import APPLICABILITY
from maps.report.inputs import ReportInputs, StageRecord
from maps.report.page import write_report
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


@pytest.fixture(scope="session")
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


class Page(HTMLParser):
    """Tags, addresses, ids and words of a page; complains about tags that close what is not open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.markup = path.read_text(encoding="utf-8")
        self.feed(self.markup)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.links += [found["href"] or ""] if "href" in found else []
        self.sources += [found["src"] or ""] if "src" in found else []
        self.ids += [found["id"] or ""] if "id" in found else []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], Page]:
    return Page


@pytest.fixture(scope="session")
def report_of() -> Callable[[ReportInputs, Path], Page]:
    """Return a function that writes the report of a run in a folder and reads it."""

    def made(inputs: ReportInputs, folder: Path) -> Page:
        write_report(inputs, folder / "report.html")
        return Page(folder / "report.html")

    return made


@pytest.fixture(scope="session")
def report(
    inputs: ReportInputs, report_of: Callable[[ReportInputs, Path], Page], tmp_path_factory: pytest.TempPathFactory
) -> Page:
    return report_of(inputs, tmp_path_factory.mktemp("report"))
