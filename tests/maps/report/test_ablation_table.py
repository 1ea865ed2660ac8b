"""The table of a model's variants: in Markdown and as a page, with the baseline of climate alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from maps.report.ablation_table import (
    Evaluation,
    correlation_rows,
    detail_rows,
    form_rows,
    markdown,
    panels,
    write_evaluation,
)
from plant_traits.errors import TableError


def row(variant: str, split: str, trait: str, r: float, **values: object) -> dict[str, Any]:
    return {
        "variant": variant, "split": split, "compared_with": "labels", "modalities": "image+geospatial",
        "growth_form": "all", "trait": trait, "n": 1407, "pearson_r": r, "r2": -0.0412, "rmse": 0.5, "nmae": 0.0927,
        "gaussian_nll": 1.2214, "crps": 0.4686, "coverage_50": 0.512, "coverage_80": 0.791, "coverage_90": 0.896,
        "coverage_95": 0.95, "within_species_r": np.nan, "within_species_n": np.nan,
    } | values  # fmt: skip


@pytest.fixture
def evaluation() -> Evaluation:
    rows = [
        row("full", "photos", "sla", 0.8123),
        row("full", "regions", "sla", 0.7123),
        row("full", "regions", "height", 0.9127, within_species_r=0.4999, within_species_n=347),
        row("full", "regions", "height", 0.8, modalities="image"),
        row("full", "regions", "height", 0.31, modalities="geospatial"),
        row("full", "regions", "height", 0.33, growth_form="tree", n=142, coverage_90=0.87),
        row("place", "regions", "height", 0.3942, modalities="geospatial"),
        row("place", "regions", "sla", 0.2942, modalities="geospatial", gaussian_nll=np.nan),
        row("a|b <i>", "regions", "height", 0.5),
    ]
    return Evaluation(
        title="Variants & <all>",
        scores=pd.DataFrame(rows),
        variant_names={"full": "photo and place", "place": "place alone"},
        trait_names={"height": "Plant height", "sla": "SLA"},
    )


def test_the_markdown_is_compact_and_exact(evaluation: Evaluation) -> None:
    assert markdown(evaluation) == (
        "Correlation r with labels, on new regions / new photos:\n"
        "\n"
        "| variant | Plant height | SLA |\n"
        "| :-- | --: | --: |\n"
        "| photo and place | 0.91 / – | 0.71 / 0.81 |\n"
        "| place alone | 0.39 / – | 0.29 / – |\n"
        "| a\\|b &lt;i> | 0.50 / – | – / – |\n"
        "\n"
        "All scores on new regions, compared with labels:\n"
        "\n"
        "| variant | trait | from | n | r | R² | RMSE | nMAE | NLL | CRPS | 50 % | 80 % | 90 % | 95 % "
        "| r within species |\n"
        "| :-- | :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n"
        "| photo and place | Plant height | photo and place | 1,407 | 0.91 | −0.04 | 0.50 | 0.09 | 1.22 | 0.469 "
        "| 51 % | 79 % | 90 % | 95 % | 0.50 (347) |\n"
        "| photo and place | SLA | photo and place | 1,407 | 0.71 | −0.04 | 0.50 | 0.09 | 1.22 | 0.469 "
        "| 51 % | 79 % | 90 % | 95 % | – |\n"
        "| place alone | Plant height | place alone | 1,407 | 0.39 | −0.04 | 0.50 | 0.09 | 1.22 | 0.469 "
        "| 51 % | 79 % | 90 % | 95 % | – |\n"
        "| place alone | SLA | place alone | 1,407 | 0.29 | −0.04 | 0.50 | 0.09 | – | 0.469 "
        "| 51 % | 79 % | 90 % | 95 % | – |\n"
        "| a\\|b &lt;i> | Plant height | photo and place | 1,407 | 0.50 | −0.04 | 0.50 | 0.09 | 1.22 | 0.469 "
        "| 51 % | 79 % | 90 % | 95 % | – |\n"
    )  # fmt: skip


def test_the_baseline_is_the_variant_of_climate_alone(evaluation: Evaluation) -> None:
    height, sla = panels(evaluation, "regions", "labels")
    assert height.name == "Plant height"
    assert height.scores == {"photo and place": 0.9127, "place alone": 0.3942, "a|b <i>": 0.5}
    assert (height.baseline, sla.baseline) == (0.3942, 0.2942)
    assert np.isnan(sla.scores["a|b <i>"])
    without = replace(evaluation, scores=evaluation.scores[evaluation.scores["variant"] != "place"])
    assert without.baseline_r("regions", "labels", "height") == 0.31  # of the full model, from the place alone
    assert without.baseline_r("regions", "labels", "sla") is None
    assert [entry["baseline"] for entry in correlation_rows(evaluation, "labels")] == [False, True, False]


def test_growth_forms_are_told_of_the_first_variant(evaluation: Evaluation) -> None:
    found = [(x["name"], x["form"], x["n"], x["r"], x["coverage"][2]) for x in form_rows(evaluation)]
    assert found == [
        ("Plant height", "all plants", "1,407", "0.91", "90 %"),
        ("Plant height", "tree", "142", "0.33", "87 %"),
        ("SLA", "all plants", "1,407", "0.71", "90 %"),
    ]


def test_scores_that_nobody_has_make_no_column(evaluation: Evaluation) -> None:
    plain = evaluation.scores[["variant", "split", "compared_with", "modalities", "trait", "n", "pearson_r"]]
    head, rows = detail_rows(replace(evaluation, scores=plain.iloc[[1]]), "regions", "labels")
    assert head == ["variant", "trait", "from", "n", "r"]
    assert rows == [["photo and place", "SLA", "photo and place", "1,407", "0.71"]]
    assert form_rows(replace(evaluation, scores=plain)) == []


def test_the_page_is_self_contained_and_escaped(evaluation: Evaluation, tmp_path: Path) -> None:
    assert write_evaluation(evaluation, tmp_path) == ["evaluation.md", "evaluation.html", "evaluation.png"]
    page = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert page.count("<img") == page.count("data:image/png;base64,") == 1
    for outside in ("<script", "<link", "http", "url(", "@import"):
        assert outside not in page
    assert "Variants &amp; &lt;all&gt;" in page
    assert "a|b &lt;i&gt;" in page
    assert '<tr class="published"><th scope="row">place alone</th>' in page
    assert "0.50 (347)" in page
    assert "Virtual world" not in page
    assert (tmp_path / "evaluation.png").read_bytes()[:4] == b"\x89PNG"


def test_true_values_come_after_labels_and_carry_a_banner(evaluation: Evaluation, tmp_path: Path) -> None:
    truth = evaluation.scores.assign(compared_with="truth", pearson_r=0.1234)
    both = replace(evaluation, scores=pd.concat([truth, evaluation.scores], ignore_index=True))
    assert both.compared_with == ["labels", "truth"]
    write_evaluation(both, tmp_path)
    page = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert "Virtual world: simulated data." in page
    assert "Correlation r with true values on new regions" in page
    assert page.index("<b>r with labels</b>") < page.index("<b>r with true values</b>")
    assert "0.12" in page


def test_tables_that_are_none_are_refused(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"\['pearson_r'\] are missing"):
        replace(evaluation, scores=evaluation.scores.drop(columns="pearson_r"))
    with pytest.raises(TableError, match="found none"):
        write_evaluation(replace(evaluation, scores=evaluation.scores.iloc[:0]), tmp_path)
