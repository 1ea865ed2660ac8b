"""What a photo counts: noise and slope by hand, in simulated moments of both kinds of error, and in parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from maps.estimators.cell_moments import CellMoments
from maps.estimators.estimate import mean, mixed, variance_components
from maps.estimators.photo_weights import PhotoVariances, with_level_weights, with_noise

MomentsOf = Callable[..., pd.DataFrame]


def draw(seed: int, cells: int, n: int, *, berkson: float, lean: float = 0.0) -> pd.DataFrame:
    """Draw predictions of variance v of which they scatter by a share, and which are less sure the larger they are."""
    rng = np.random.default_rng(seed)
    species = rng.integers(0, 6, (cells, n))
    of_species = rng.normal(0, 0.5, (cells, 6))
    level = np.take_along_axis(of_species, species, 1)
    spread = rng.normal(0, 1, (cells, n))
    base = 0.2 * np.exp(rng.normal(0, 0.3, (cells, n)))
    y = level + spread * np.sqrt(berkson * base)
    frame = {
        "cell": np.repeat(np.arange(cells), n),
        "trait": "height",
        "species": species.ravel().astype(str),
        "observer": np.tile(np.arange(n), cells).astype(str),
    }
    return pd.DataFrame(frame | {"y": y.ravel(), "v": (base * np.exp(lean * y)).ravel()})


def test_sums_by_hand(moments_of: MomentsOf) -> None:
    photos = pd.DataFrame(
        {
            "cell": [3, 3, 3, 3],
            "trait": "height",
            "species": ["a", "a", "a", "b"],
            "observer": ["u", "u", "w", "w"],
            "y": [1.0, 3.0, 5.0, 3.0],
            "v": [1.0, 1.0, 4.0, 2.0],
        }
    )
    sums = PhotoVariances.of(CellMoments.of(moments_of(photos)))
    assert sums.scatter.tolist() == [8.0]  # of 1, 3 and 5 about 3
    assert sums.expected.tolist() == [pytest.approx(6 * 2 / 3)]
    assert sums.freedom.tolist() == [2.0]
    # Rows: 2 photos of mean 2 and v 1, one of 5 and v 4, one of 3 and v 2, about the cell's mean 3.
    assert sums.square.tolist() == [pytest.approx(2 * 1 + 4 + 0)]
    assert sums.product.tolist() == [pytest.approx(0 + 2 * np.log(4.0) + 0)]
    group = np.array([0])
    assert sums.slope(group, 1).tolist() == [pytest.approx(2 * np.log(4.0) / 6)]
    assert sums.noise(group, 1).tolist() == [1.0]  # 8 / 4 is more than the variances say


def test_noise_is_found_where_it_is_clear_and_one_elsewhere(moments_of: MomentsOf) -> None:
    for share, expected in ((0.25, 0.25), (1.0, 1.0)):
        sums = PhotoVariances.of(CellMoments.of(moments_of(draw(1, 200, 30, berkson=share))))
        assert sums.noise(np.zeros(200, dtype=np.int64), 1)[0] == pytest.approx(expected, rel=0.05)
    few = PhotoVariances.of(CellMoments.of(moments_of(draw(1, 1, 8, berkson=0.5))))
    assert few.noise(np.array([0]), 1).tolist() == [1.0]
    assert few.noise(np.array([0]), 2).tolist() == [1.0, 1.0]  # the second group has no cell


def test_the_slope_is_that_of_the_variances(moments_of: MomentsOf) -> None:
    sums = PhotoVariances.of(CellMoments.of(moments_of(draw(2, 200, 30, berkson=0.5, lean=0.8))))
    assert sums.slope(np.zeros(200, dtype=np.int64), 1)[0] == pytest.approx(0.8, abs=0.03)


def test_parts_join_to_the_whole_whatever_is_added_to_the_predictions(moments_of: MomentsOf) -> None:
    photos = draw(3, 40, 20, berkson=0.5, lean=0.3)
    whole = PhotoVariances.of(CellMoments.of(moments_of(photos)))
    parts = [photos[photos["cell"] < 15], photos[photos["cell"] >= 15]]
    joined = PhotoVariances.joined(PhotoVariances.of(CellMoments.of(moments_of(part))) for part in parts)
    far = PhotoVariances.of(CellMoments.of(moments_of(photos.assign(y=photos["y"] + 1000))))
    for name in ("scatter", "expected", "freedom", "product", "square"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
        np.testing.assert_allclose(getattr(far, name), getattr(whole, name), rtol=1e-6, atol=1e-6)


def test_weights_change_as_said_and_nothing_else(moments_of: MomentsOf) -> None:
    cells = CellMoments.of(moments_of(draw(4, 5, 6, berkson=0.5, lean=0.5)))
    half, slope = np.full(5, 0.5), np.full(5, 0.25)
    scaled = with_noise(cells, half)
    np.testing.assert_allclose(scaled.rows["sum_w"], 2 * cells.rows["sum_w"])
    np.testing.assert_allclose(scaled.rows["sum_w2"], 4 * cells.rows["sum_w2"])
    level = with_level_weights(cells, half, slope)
    single = cells.rows["n"] == 1
    centre = (cells.total("sum_y") / cells.n)[cells.of_row]
    expected = 2 / cells.rows["sum_v"] * np.exp(0.25 * (cells.rows["sum_y"] - centre))
    np.testing.assert_allclose(level.rows["sum_w"][single], expected[single])
    np.testing.assert_allclose(level.rows["sum_wy"] / level.rows["sum_w"], cells.rows["sum_wy"] / cells.rows["sum_w"])
    for name in ("n", "sum_y", "sum_y2", "sum_v", "sum_aleatoric"):
        assert level.rows[name] is cells.rows[name]


def test_variances_that_go_with_predictions_do_not_make_the_mixed_mean_lean(moments_of: MomentsOf) -> None:
    photos = draw(5, 300, 30, berkson=0.3, lean=1.0)
    moments = moments_of(photos)
    truth = photos.groupby("cell")["y"].mean().to_numpy()
    found, plain = mixed(moments), mean(moments)
    naive = mixed(moments, components=variance_components(moments).assign(noise=1.0, variance_slope=0.0))
    lean = [float((x["location"] - truth).mean()) for x in (found, naive)]
    assert abs(lean[0]) < 0.02
    assert abs(lean[1]) > 0.06
    np.testing.assert_allclose(plain["location"], truth)
