"""The page of a trained model: scores by split, calibration, cleaning rounds and curves, and pages without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_catalog import Catalog, Trait
from maps.report.model_facts import (
    Ingredient,
    ModelPage,
    calibration_tables,
    cleaning_tables,
    group_words,
    headlines,
    split_table,
    typical_error,
)
from maps.report.model_page import write_model_files
from plant_traits.errors import ModelError

if TYPE_CHECKING:
    from tests.maps.report.conftest import Page

Made = Callable[[ModelPage, Path], "Page"]

LEVELS = [0.5, 0.8, 0.9, 0.95]
HOSTILE = "enc <script>alert(1)</script>"
FROST = Trait(
    id="frost", name="Frost limit", definition="d", unit="degC", working_space="identity", valid_range=(-90.0, 20.0)
)


def score(**values: object) -> dict[str, Any]:
    return {
        "n": 407, "pearson_r": 0.9127, "r2": 0.8268, "rmse": np.log(2.1), "nmae": 0.0927, "gaussian_nll": 1.2214,
        "gaussian_nll_as_predicted": 1.2234, "crps": 0.4686, "crps_as_predicted": 0.469,
        "coverage": {"level": LEVELS, "as_predicted": [0.52, 0.8, 0.9, 0.95], "scaled": [0.53, 0.79, 0.89, 0.93],
                     "conformal": [0.51, 0.79, 0.89, 0.95], "unbounded": [0, 0, 0, 0]},
        "pit": {"as_predicted": [40] * 10, "calibrated": [41] * 10},
        "by_growth_form": {},
    } | values  # fmt: skip


def card() -> dict[str, Any]:
    return {
        "model_id": "874b5cf4458ed1b2",
        "traits": [],
        "covariates": ["bio1", "bio12", "soc"],
        "settings": {"encoder": "efficientnet-lite0", "ensemble": 4, "modality_dropout": 0.3, "seed": 1},
        "calibration": {
            "networks_id": "fedcba9876543210",
            "levels": LEVELS,
            "table": {
                "image+geospatial": {
                    "all": {"height": {"n": 1407, "variance_factor": 1.1, "quantiles": [0.6, 1.2, 1.7136, 2.1]}},
                    "tree/arid": {
                        "height": {"n": 12, "variance_factor": 1.1, "quantiles": [0.6, 1.2, float("inf"), 2.1]}
                    },
                },
                "geospatial": {"all": {"height": {"n": 521, "variance_factor": 2.0, "quantiles": [0.6, 1.2, 1.5, 2]}}},
            },
        },
        "metrics": {
            "counts": {"records": 6161, "records_fitted": 5081},
            "held_out": {"image+geospatial": {"height": score()}, "geospatial": {"height": score(pearson_r=0.39)}},
            "splits": {
                "photos": {"image+geospatial": {"height": score(n=99, pearson_r=0.9444)}},
                "species": {"image+geospatial": {"height": score(n=611, pearson_r=0.7111, r2=-0.0412)}},
            },
        },
    }


def curves() -> pd.DataFrame:
    rows = [
        (member, name, epoch, 1 / epoch, 1 / epoch + (0.2 if name == "first" else np.nan), trait, 0.1 * epoch)
        for name in ("first", "refit")
        for member in range(3)
        for epoch in range(1, 7)
        for trait in ("height", "sla")
    ]
    return pd.DataFrame(rows, columns=["member", "round", "epoch", "loss", "held_out_loss", "trait", "pearson_r"])


@pytest.fixture(scope="module")
def page(catalog: Catalog) -> ModelPage:
    return ModelPage(
        title="A model & its <scores>",
        card=card(),
        traits=[catalog.trait("height"), catalog.trait("sla")],
        ingredients=[Ingredient("photos", HOSTILE, "0123456789abcdef0123", "Apache-2.0")],
        curves=curves(),
        dropped=pd.DataFrame(
            {"fit": ["first"] * 30 + ["refit"] * 41, "round": [1] * 71, "reason": ["label contradicted"] * 71}
        ),
        files={"weights.safetensors": "ab" * 32},
    )


@pytest.fixture(scope="module")
def made(read_page: Callable[[Path], Page]) -> Made:
    """Return a function that writes the page of a model in a folder and reads it."""

    def write(page: ModelPage, folder: Path) -> Page:
        write_model_files(page, folder)
        return read_page(folder / "model.html")

    return write


@pytest.fixture(scope="module")
def text(page: ModelPage, made: Made, tmp_path_factory: pytest.TempPathFactory) -> str:
    return made(page, tmp_path_factory.mktemp("page")).text


def test_the_files_are_a_page_and_three_pictures(page: ModelPage, tmp_path: Path) -> None:
    written = write_model_files(page, tmp_path)
    assert written == ["model.html", "learning_curves.png", "reliability.png", "pit.png"]
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted(written)
    for name in written[1:]:
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"


def test_the_page_is_whole_escaped_and_loads_nothing(page: ModelPage, made: Made, tmp_path: Path) -> None:
    found = made(page, tmp_path)
    assert found.open == []
    assert not {"script", "link", "iframe"} & set(found.tags)
    assert len(found.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in found.sources)
    assert "url(" not in found.markup
    assert "@import" not in found.markup
    fragments = {link[1:] for link in found.links if link.startswith("#")}
    assert fragments <= set(found.ids)
    assert [link for link in found.links if not link.startswith("#")] == ["weights.safetensors"]
    assert HOSTILE in found.text
    assert "A model & its <scores>" in found.text


@pytest.mark.parametrize(
    "expected",
    [
        "0.91 Plant height: correlation r in held-out regions, 407 records, from photo and place; "
        "typical error ×/÷ 2.1; 89 % of values in their 90 % interval",
        "Plant height photo and place 0.91 407 0.83 ×/÷ 2.1 89 % 0.71 611 −0.04 ×/÷ 2.1 89 % 0.94 99",  # all splits
        "place alone 0.39 407 0.83 ×/÷ 2.1 89 % – –",
        "An ensemble of 4 networks", "It was trained to do without either",
        "records 6,161 records fitted 5,081",
        "30 photos were left out of the fit that is scored.",
        "41 photos were left out of the last fit, to all records.",
        "1 label contradicted 30",
        "all plants 1.71 1,407 records –", "tree, arid no bound 12 records –", "all plants 1.50 521 records –",
        "Apache-2.0", "0123456789abcdef", "874b5cf4458ed1b2", "fedcba9876543210", "3 features of a place",
        "ab" * 16 + "…", "modality_dropout 0.3", "Grey: the networks that are handed on were fitted again",
        "m² kg⁻¹ logarithm, normal distribution",
    ],
)  # fmt: skip
def test_the_page_tells(text: str, expected: str) -> None:
    assert expected in text


def test_only_a_virtual_world_has_its_banner_and_true_values(
    page: ModelPage, text: str, made: Made, tmp_path: Path
) -> None:
    assert "Virtual world" not in text
    metrics = page.metrics | {"truth": {"image": {"height": score(pearson_r=0.8765)}}}
    simulated = made(replace(page, card={**page.card, "metrics": metrics}, curves=None), tmp_path).text
    assert "Virtual world: simulated data." in simulated
    assert "Against true values" in simulated
    assert "Plant height photo alone 0.88" in simulated


def test_regions_may_stand_among_the_splits(page: ModelPage) -> None:
    held = page.metrics["held_out"]
    apart = split_table(page, "held_out")
    metrics = {"splits": {"species": page.metrics["splits"]["species"], "regions": held,
                          "photos": page.metrics["splits"]["photos"]}}  # fmt: skip
    among = split_table(replace(page, card={**page.card, "metrics": metrics}), "held_out")
    assert apart == among
    assert apart is not None
    assert [split["name"] for split in apart["splits"]] == ["new regions", "new species", "new photos"]


@pytest.mark.parametrize(
    "metrics",
    [{}, {"held_out": {}}, {"held_out": {"image": {}}}, {"held_out": {"image": {"height": 0.5}}},
     {"held_out": None, "splits": None}],
)  # fmt: skip
def test_a_model_without_scores_curves_and_rounds_has_a_page(
    page: ModelPage, read_page: Callable[[Path], Page], tmp_path: Path, metrics: dict[str, Any]
) -> None:
    bare = replace(page, card={**page.card, "metrics": metrics}, curves=None, dropped=None, files={})
    assert write_model_files(bare, tmp_path) == ["model.html"]
    told = read_page(tmp_path / "model.html").text
    for words in ("This model has no scores", "No cleaning rounds", "left no course of its epochs",
                  "The card tells no counts", "No record was held out to score this model"):  # fmt: skip
        assert words in told


def test_scores_with_little_in_them_are_tolerated(page: ModelPage, made: Made, tmp_path: Path) -> None:
    metrics = {"held_out": {"image": {"height": {"n": 4}}}}
    bare = made(replace(page, card={**page.card, "metrics": metrics}, curves=None), tmp_path)
    assert "Plant height photo alone – 4 – – –" in bare.text


def test_typical_errors_are_factors_of_logarithms(catalog: Catalog) -> None:
    assert typical_error(catalog.trait("height"), float(np.log(2.1))) == "×/÷ 2.1"
    assert typical_error(FROST, 3.456) == "± 3.5 degC"
    assert typical_error(FROST, None) == "–"
    assert typical_error(FROST, float("nan")) == "–"


def test_rounds_are_counted_by_fit_round_and_reason() -> None:
    dropped = pd.DataFrame({"round": [1, 2, 1], "reason": ["uncertain", "uncertain and off", "uncertain"]})
    rows = [("1", "uncertain", 2), ("2", "uncertain and off", 1)]
    assert cleaning_tables(dropped) == [{"words": "the fit", "n": 3, "rows": rows}]
    assert cleaning_tables(dropped.iloc[:0]) == []
    assert cleaning_tables(None) is None


def test_groups_and_headlines_are_said_in_words(page: ModelPage) -> None:
    assert [group_words(x) for x in ("all", "tree", "tree/arid", "all/polar")] == [
        "all plants", "tree", "tree, arid", "all plants, polar",
    ]  # fmt: skip
    assert [tile["name"] for tile in headlines(page)] == ["Plant height"]
    assert [table["modalities"] for table in calibration_tables(page)] == ["photo and place", "place alone"]


def test_the_same_model_gives_the_same_bytes(page: ModelPage, tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_model_files(page, tmp_path / name)
        contents.append({x.name: x.read_bytes() for x in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


def test_another_kind_of_card_is_refused(page: ModelPage, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks \['settings', 'calibration'\]"):
        write_model_files(replace(page, card={"model_id": "m", "traits": [], "covariates": []}), tmp_path)
