from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from maps.estimators.cell_moments import CellMoments, Heterogeneity
from maps.moments.addition import SUMS, merge
from plant_traits.errors import TableError
from plant_traits.schemas import MOMENTS


def moments_of(*photos: tuple[int, str, str | None, str | None, float]) -> pd.DataFrame:
    """Photos by cell, trait, species, observer and y, each of variance 1/2."""
    frame = pd.DataFrame(photos, columns=["cell", "trait", "species", "observer", "y"])
    y = frame.pop("y")
    sums = {"sum_w": 2.0, "sum_wy": 2 * y, "sum_wy2": 2 * y**2, "sum_y": y, "sum_y2": y**2, "sum_v": 0.5, "sum_w2": 4.0}
    return merge([frame.assign(evidence="photo", n=1, **sums, sum_aleatoric=0.25)[MOMENTS.names]])


PHOTOS = moments_of(
    (9, "sla", "b", "x", 1.0),
    (3, "height", "b", "y", 2.0),
    (3, "height", "a", "x", 4.0),
    (3, "height", "a", "y", 6.0),
    (3, "sla", None, None, 3.0),
    (9, "height", "a", None, 5.0),
    (9, "height", "a", "x", 7.0),
)


def test_rows_are_grouped_by_cell_and_trait_in_canonical_order() -> None:
    cells = CellMoments.of(PHOTOS.sample(frac=1, random_state=1))
    assert cells.cell.tolist() == [3, 3, 9, 9]
    assert cells.trait.to_pylist() == ["height", "sla", "height", "sla"]
    assert cells.n.tolist() == [3.0, 1.0, 2.0, 1.0]
    assert cells.n_observers.tolist() == [2, 1, 2, 1]
    assert cells.effects.k.tolist() == [2, 1, 1, 1]
    assert cells.total("sum_y").tolist() == [12.0, 3.0, 12.0, 1.0]
    assert cells.rows["sum_y"].tolist() == [4.0, 6.0, 2.0, 3.0, 5.0, 7.0, 1.0]
    assert CellMoments.of(cells) is cells


def test_squares_of_sums_by_group() -> None:
    cells = CellMoments.of(PHOTOS)
    y = cells.rows["sum_y"]
    assert cells.squares(y, cells.species_of_row).tolist() == [10.0**2 + 2.0**2, 9.0, 144.0, 1.0]
    assert cells.squares(y, cells.observer_of_row).tolist() == [4.0**2 + 8.0**2, 9.0, 25.0 + 49.0, 1.0]
    assert cells.cell_of(cells.species_of_row).tolist() == [0, 0, 1, 2, 3]


def test_a_trait_apart_is_as_if_it_were_alone() -> None:
    found = list(CellMoments.of(PHOTOS).by_trait())
    assert [(trait, places.tolist()) for trait, places, _ in found] == [("height", [0, 2]), ("sla", [1, 3])]
    for trait, _, part in found:
        alone = CellMoments.of(PHOTOS[PHOTOS["trait"] == trait])
        for name in ("cell", "of_row", "species_of_row", "observer_of_row"):
            np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))
        for name in ("n", *SUMS):
            np.testing.assert_array_equal(part.rows[name], alone.rows[name])
        assert part.trait == alone.trait
    assert list(CellMoments.of(PHOTOS.head(0)).by_trait()) == []


def test_a_trait_in_an_arrow_table_is_grouped_as_its_frame() -> None:
    for trait, _, expected in CellMoments.of(PHOTOS).by_trait():
        rows = pa.Table.from_pandas(PHOTOS[PHOTOS["trait"] == trait], MOMENTS, preserve_index=False)
        for order in (np.arange(len(rows)), np.arange(len(rows))[::-1]):
            found = CellMoments.of_trait(rows.take(order), trait)
            assert found.trait == expected.trait
            for name in ("cell", "of_row", "species_of_row", "observer_of_row"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            for name in ("n", *SUMS):
                np.testing.assert_array_equal(found.rows[name], expected.rows[name])


def test_mean_tau2_is_that_of_cells_of_two_species_or_else_the_photos_variance() -> None:
    # Cell 3 has species means 5 (variance 1/4) and 2 (1/2) of height: tau2 = 9/2 - 3/8.
    assert CellMoments.of(PHOTOS).mean_tau2() == {"height": pytest.approx(4.5 - 0.375), "sla": pytest.approx(0.5)}
    parts = [CellMoments.of(PHOTOS[(PHOTOS["trait"] == "height") & (PHOTOS["cell"] == c)]) for c in (3, 9)]
    assert Heterogeneity().plus(parts[0]).plus(parts[1]).mean() == pytest.approx(4.125)


def test_missing_columns_and_mixed_evidence_are_refused() -> None:
    with pytest.raises(TableError, match="'sum_w2'"):
        CellMoments.of(PHOTOS.drop(columns="sum_w2"))
    with pytest.raises(TableError, match="one kind of evidence"):
        CellMoments.of(pd.concat([PHOTOS, PHOTOS.assign(evidence="record")]))
