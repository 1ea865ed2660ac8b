"""Figures of a training: pictures that repeat, of any number of members, rounds, traits and variants."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maps.report.figures_training import VariantPanel, draw_learning_curves, draw_variants

PIXELS_OF_A_ROW = 363  # 3.3 inches of 110 pixels
NAMES = {"height": "Height $_x$", "sla": "SLA"}


def curves(rounds: tuple[str, ...] = ("first",), members: int = 2) -> pd.DataFrame:
    rows = [
        (member, name, epoch, 1 / epoch, np.nan if name == "refit" else 1 / epoch + 0.1 * member, trait, 0.1 * epoch)
        for name in rounds
        for member in range(members)
        for epoch in range(1, 6)
        for trait in ("height", "sla")
    ]
    return pd.DataFrame(rows, columns=["member", "round", "epoch", "loss", "held_out_loss", "trait", "pearson_r"])


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return picture.size


@pytest.mark.parametrize(
    ("rounds", "rows"), [(("first",), 1), (("first", "refit"), 1), (("refit",), 1), (("0", "1", "2", "refit"), 3)]
)
def test_each_round_but_a_refit_has_a_row(rounds: tuple[str, ...], rows: int) -> None:
    assert size_of(draw_learning_curves(curves(rounds), NAMES))[1] == rows * PIXELS_OF_A_ROW


def test_a_refit_and_a_shifted_loss_change_the_picture() -> None:
    plain = draw_learning_curves(curves(), NAMES)
    assert draw_learning_curves(curves(), NAMES) == plain
    assert draw_learning_curves(curves(("first", "refit")), NAMES) != plain
    assert draw_learning_curves(curves().assign(held_out_loss=np.nan), NAMES) != plain
    assert draw_learning_curves(curves().assign(pearson_r=np.nan), NAMES) != plain


def test_variants_are_dots_with_a_line_for_the_baseline() -> None:
    scores = {"full": 0.9, "no $photo$": 0.2, "broken": np.nan}
    panels = [VariantPanel(f"trait {i}", scores, 0.4) for i in range(5)]
    png = draw_variants(panels, score="r", baseline="climate alone")
    assert png == draw_variants(panels, score="r", baseline="climate alone")
    assert png != draw_variants([VariantPanel(p.name, p.scores, None) for p in panels], score="r", baseline="x")
    single = size_of(draw_variants(panels[:4], score="r", baseline="climate alone"))
    assert size_of(png)[1] > single[1]  # a fifth trait begins a second row
    assert size_of(draw_variants([], score="r", baseline="x"))[0] == single[0]
