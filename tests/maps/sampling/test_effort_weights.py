"""Cells weighted by effort: by hand, against the moments, and where a park gives most of a cell's photos."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from maps.moments.reduction import reduce_predictions
from maps.sampling.effort_weights import (
    MOST_WEIGHT,
    SUBDIVISION,
    cell_of_subcell,
    effort_estimates,
    merge_subcells,
    reduce_to_subcells,
    subcell_grid,
    weigh_subcells,
)
from plant_traits.errors import GridError, TableError
from plant_traits.grid import Grid
from plant_traits.schemas import ESTIMATE, SUBCELL_SUMS

ONE = Grid.parse("1deg")
FINE = subcell_grid(ONE)
# Edges are worked out once a grid.
GRIDS = {
    text: (Grid.parse(text), subcell_grid(Grid.parse(text))) for text in ("1deg", "0.5deg", "0.1deg", "1/3deg", "5deg")
}
SUMS = ("n", "sum_y", "sum_y2", "sum_v", "sum_aleatoric")


def sums(*rows: tuple[int, int, float, float], trait: str = "height", of: int = 1000) -> pd.DataFrame:
    """Rows of sub-cell (0 to 15 of the cell), photos, their mean and the variance of each, half of it aleatoric."""
    frame = pd.DataFrame(rows, columns=["part", "n", "mean", "v"])
    row, column = np.divmod(of, ONE.n_lon)
    down, right = np.divmod(frame["part"], SUBDIVISION)
    cell = (row * SUBDIVISION + down) * FINE.n_lon + column * SUBDIVISION + right
    return pd.DataFrame(
        {
            "cell": cell,
            "trait": trait,
            "n": frame["n"],
            "sum_y": frame["n"] * frame["mean"],
            "sum_y2": frame["n"] * frame["mean"] ** 2,
            "sum_v": frame["n"] * frame["v"],
            "sum_aleatoric": frame["n"] * frame["v"] / 2,
        }
    )


def effort(of: pd.DataFrame, *records: int) -> pd.DataFrame:
    return pd.DataFrame({"cell": of["cell"].unique(), "n_records": records, "n_observers": 1})


def estimated(of: pd.DataFrame, *records: int) -> pd.Series:
    weighed, lost = weigh_subcells(of, effort(of, *records), ONE)
    assert lost == 0
    frame = effort_estimates(weighed)
    assert len(frame) == 1
    return frame.iloc[0]


def test_two_subcells_by_hand() -> None:
    # Photos per record: 9 of 18 and 2 of 8, so the means 1 and 4 weigh 1/2 and 1/4: (1/2 + 1) / (3/4) = 2.
    found = estimated(sums((0, 9, 1.0, 0.4), (5, 2, 4.0, 0.8)), 18, 8)
    assert found["location"] == pytest.approx(2.0)
    # Of clusters: 2 x ((1/2 x -1)^2 + (1/4 x 2)^2) / (3/4)^2, more than (9 x 0.4 / 18^2 + 2 x 0.8 / 8^2) / (3/4)^2.
    assert found["standard_error"] == pytest.approx(np.sqrt(2 * 0.5 / 0.5625))
    assert found["interval_upper"] == pytest.approx(2.0 + student.ppf(0.975, 1) * found["standard_error"])
    assert found["n_photos"] == 11
    assert found["n_effective"] == pytest.approx(0.75**2 / (9 / 18**2 + 2 / 8**2))
    # Within: (1/2 x 1 + 1/4 x 16) / (3/4) - 4 = 2; aleatoric: (1/2 x 0.2 + 1/4 x 0.4) / (3/4).
    assert found["variance_among_plants"] == pytest.approx(2.0 + 0.2 / 0.75)
    assert found[["n_species", "n_observers", "tau2", "i2"]].isna().all()


def test_the_error_is_never_below_that_of_the_photos() -> None:
    found = estimated(sums((0, 4, 1.0, 0.4), (1, 4, 1.0, 0.4)), 4, 4)
    assert found["standard_error"] == pytest.approx(np.sqrt(0.4 / 8))


def test_one_subcell_borrows_the_scatter_of_other_cells() -> None:
    alone = sums((3, 4, 2.0, 0.4))
    assert estimated(alone, 7)["standard_error"] == pytest.approx(np.sqrt(0.4 / 4 + 0.4))
    others = [sums((0, 1, 0.0, 0.1), (1, 1, 2.0, 0.1), of=1001), sums((0, 1, 0.0, 0.1), (1, 1, 4.0, 0.1), of=1002)]
    apart = sums((3, 4, 2.0, 0.4), trait="sla")
    whole = pd.concat([alone, *others, apart], ignore_index=True)
    weighed, _ = weigh_subcells(whole, effort(whole, *[5] * 5), ONE)
    found = effort_estimates(weighed).set_index(["cell", "trait"])
    # Variances among sub-cells 2 and 8 of the other cells of the trait, none of the other trait.
    assert found.loc[(1000, "height"), "standard_error"] == pytest.approx(np.sqrt(0.1 + 5.0))
    assert found.loc[(1000, "sla"), "standard_error"] == pytest.approx(np.sqrt(0.1 + 0.4))
    lower, upper = found.loc[(1000, "height"), ["interval_lower", "interval_upper"]]
    assert (upper - lower) / 2 == pytest.approx(1.959964 * np.sqrt(5.1))


def test_weights_are_bounded() -> None:
    # The weight of a lone record's photo is 1, that of 10,000 in the park 1e-4: the mean is 2e-4, a hundred of it 0.02.
    park, alone = (0, 9_999, 0.0, 0.1), (1, 1, 1.0, 0.1)
    average = (9_999 / 10_000 + 1) / 10_000
    share = MOST_WEIGHT * average
    found = estimated(sums(park, alone), 10_000, 1)
    assert found["location"] == pytest.approx(share / (0.9999 + share))


def test_subcells_of_equal_photos_per_record_count_alike_whatever_their_number() -> None:
    found = estimated(sums((0, 600, 1.0, 0.1), (1, 30, 2.0, 0.1), (2, 3, 6.0, 0.1)), 6000, 300, 30)
    assert found["location"] == pytest.approx(3.0)


def test_a_park_beside_its_city_is_weighed_down() -> None:
    """Plants are 1 taller in the one sub-cell with most visits: the photos' mean says so, the weighted one does not."""
    generator = np.random.default_rng(2)
    visits = np.where(np.arange(16) == 6, 4000, 100)
    photos = generator.binomial(visits, 0.2)
    means = np.where(np.arange(16) == 6, 1.0, 0.0) + generator.normal(size=16) * 0.3 / np.sqrt(photos)
    whole = sums(*zip(range(16), photos.tolist(), means.tolist(), [0.1] * 16, strict=True))
    truth = 1 / 16
    plain = whole["sum_y"].sum() / whole["n"].sum()
    weighted = estimated(whole, *visits.tolist())
    assert plain - truth > 0.5
    assert abs(weighted["location"] - truth) < 0.05
    assert abs(weighted["location"] - truth) < 2 * weighted["standard_error"]


def test_subcells_without_effort_are_left_out_and_counted() -> None:
    whole = sums((0, 4, 1.0, 0.4), (1, 3, 9.0, 0.4))
    weighed, lost = weigh_subcells(whole, effort(whole, 5, 1).iloc[:1], ONE)
    assert lost == 3
    assert effort_estimates(weighed)["location"].tolist() == [1.0]
    none, lost = weigh_subcells(whole, effort(whole, 0, 0), ONE)
    assert lost == 7
    assert effort_estimates(none).columns.tolist() == ESTIMATE.names
    assert len(effort_estimates(none)) == 0


def test_bad_input_is_named() -> None:
    whole = sums((0, 4, 1.0, 0.4))
    with pytest.raises(TableError, match="sum_v"):
        weigh_subcells(whole.drop(columns="sum_v"), effort(whole, 5), ONE)
    with pytest.raises(TableError, match="n_records"):
        weigh_subcells(whole, effort(whole, 5).drop(columns="n_records"), ONE)
    with pytest.raises(TableError, match="twice"):
        weigh_subcells(pd.concat([whole, whole]), effort(whole, 5), ONE)
    with pytest.raises(GridError, match=r"0.25deg"):
        weigh_subcells(whole.assign(cell=FINE.size), effort(whole, 5), ONE)
    with pytest.raises(TableError, match="trait"):
        merge_subcells([whole.drop(columns="trait")])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(GRIDS)),
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.booleans(),
)
def test_every_point_lies_in_a_subcell_of_its_own_cell(
    text: str, latitude: float, longitude: float, border: bool
) -> None:
    grid, fine = GRIDS[text]
    if border:  # the cell's own south-western corner
        row, column = np.divmod(int(grid.cell_of(latitude, longitude)), grid.n_lon)
        latitude, longitude = grid.lat_edges[grid.n_lat - 1 - row], grid.lon_edges[column]
    subcell = fine.cell_of(latitude, longitude)
    assert cell_of_subcell(subcell, grid) == grid.cell_of(latitude, longitude)


def test_every_cell_has_sixteen_subcells() -> None:
    grid = Grid.parse("20deg")
    count = np.bincount(cell_of_subcell(np.arange(subcell_grid(grid).size), grid))
    assert count.tolist() == [16] * grid.size


def records(seed: int, n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of two traits for records some of which have no photo, no estimate or no observation."""
    generator = np.random.default_rng(seed)
    ids = [f"o{k}" for k in range(n)]
    observations = pd.DataFrame(
        {
            "observation_id": ids,
            "species": generator.choice(["Poa annua", "Tilia cordata"], n),
            "observer": generator.choice(["ann", "bob", None], n),
            "latitude": generator.uniform(40, 42, n),
            "longitude": generator.uniform(-1, 1, n),
        }
    )
    kept = generator.random(n) < 0.9
    predictions = pd.DataFrame(
        {
            "observation_id": np.repeat(ids, 2),
            "photo_id": np.repeat(ids, 2),
            "trait": np.tile(["height", "sla"], n),
            "mean": generator.normal(size=2 * n).astype(np.float32),
            "variance_aleatoric": generator.uniform(0.1, 1, 2 * n).astype(np.float32),
            "variance_epistemic": generator.uniform(0.1, 1, 2 * n).astype(np.float32),
            "modalities": np.repeat(generator.choice(["image+geospatial", "geospatial", "image"], n), 2),
            "status": np.repeat(generator.choice(["ok", "ok", "ok", "broken"], n), 2),
        }
    )
    return predictions, observations[kept].reset_index(drop=True)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 120), st.integers(1, 4))
def test_sums_are_those_of_the_moments_however_the_photos_are_split(seed: int, n: int, parts: int) -> None:
    predictions, observations = records(seed, n)
    whole = reduce_to_subcells(predictions, observations, ONE)
    assert whole.columns.tolist() == SUBCELL_SUMS.names
    moments = reduce_predictions(predictions, observations, ONE)
    of_photos = moments[moments["evidence"] == "photo"]
    expected = of_photos.groupby(["cell", "trait"])[list(SUMS)].sum()
    by_cell = whole.assign(cell=cell_of_subcell(whole["cell"].to_numpy(), ONE)).groupby(["cell", "trait"])[list(SUMS)]
    pd.testing.assert_frame_equal(by_cell.sum(), expected, rtol=1e-12, atol=1e-12)

    dealt = np.random.default_rng(seed + 1).integers(0, parts, n).repeat(2)
    frames = [reduce_to_subcells(predictions[dealt == k], observations, ONE) for k in range(parts)]
    merged = merge_subcells(frames)
    pd.testing.assert_frame_equal(merged, whole, rtol=1e-12, atol=1e-12)
    pd.testing.assert_frame_equal(merge_subcells(frames[::-1]), merged, check_exact=True)
