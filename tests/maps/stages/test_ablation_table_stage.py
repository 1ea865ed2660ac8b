"""The stage that turns the scores of variants into a page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from data_catalog import Catalog
from maps.stages.ablation_table import variant_names, write_ablation_table
from plant_traits.errors import TableError


def test_scores_become_a_page_with_names(tmp_path: Path, catalog: Catalog) -> None:
    destination = tmp_path / "page"
    destination.mkdir()
    scores = pd.DataFrame(
        {
            "variant": ["full", "place"], "split": "regions", "compared_with": "labels",
            "modalities": ["image+geospatial", "geospatial"], "growth_form": "all", "trait": "height", "n": 407,
            "pearson_r": [0.91, 0.39],
        }
    )  # fmt: skip
    scores.to_csv(tmp_path / "scores.csv", index=False)
    summary = write_ablation_table(destination, scores=tmp_path, name="tiny", traits=[catalog.trait("height")])
    assert summary == {"in": {"scores": 2}, "out": {"variants": 2, "files": 4}}
    assert {path.name for path in destination.iterdir()} == {
        "evaluation.html", "evaluation.md", "evaluation.png", "scores.csv",
    }  # fmt: skip
    text = (destination / "evaluation.md").read_text(encoding="utf-8")
    assert "| photo and place | 0.91 |" in text
    assert "| place alone | 0.39 |" in text
    assert "Plant height" in text


def test_variants_of_another_encoder_say_so() -> None:
    assert variant_names(["full", "full, dinov2-small", "mine", "full"]) == {
        "full": "photo and place", "full, dinov2-small": "photo and place, dinov2-small", "mine": "mine",
    }  # fmt: skip


@pytest.mark.parametrize("text", [None, "", "trait,n\nheight,3\n"])
def test_scores_that_are_none_are_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "scores.csv").write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match="evaluate the variants again"):
        write_ablation_table(tmp_path, scores=tmp_path, name="tiny")
