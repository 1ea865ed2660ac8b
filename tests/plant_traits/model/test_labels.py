import numpy as np
import pytest
from scipy import stats

from plant_traits.model.labels import draw_labels

N = 40_000


def draw(
    median: float = 2.0,
    sd: float = 0.5,
    low: float = np.nan,
    high: float = np.nan,
    measured: float = np.nan,
    seed: int = 1,
    epoch: int = 0,
    n: int = N,
) -> np.ndarray:
    columns = [np.full((n, 1), float(value)) for value in (median, sd, low, high, measured)]
    return draw_labels(*columns, seed=seed, epoch=epoch)


@pytest.mark.parametrize(("low", "high"), [(1.0, 3.0), (1.9, 4.0), (0.5, 2.05), (np.nan, 2.2)])
def test_median_of_the_draws_is_the_species_median_and_bounds_hold(low: float, high: float) -> None:
    labels = draw(low=low, high=high)
    # within four standard errors of a sample median's rank: P(label < median) = 1/2
    assert abs((labels < 2.0).mean() - 0.5) < 4 * 0.5 / np.sqrt(N)
    assert labels.max() <= high + 1e-9
    if not np.isnan(low):
        assert labels.min() >= low - 1e-9


def test_symmetric_bounds_give_the_truncated_normal() -> None:
    labels = draw(low=1.25, high=2.75).ravel()
    truncated = stats.truncnorm(-1.5, 1.5, loc=2.0, scale=0.5)
    assert stats.kstest(labels, truncated.cdf).pvalue > 1e-3


def test_without_bounds_the_draws_are_normal() -> None:
    assert stats.kstest(draw().ravel(), stats.norm(2.0, 0.5).cdf).pvalue > 1e-3


def test_every_epoch_draws_afresh_and_repeats() -> None:
    assert np.array_equal(draw(n=50), draw(n=50))
    assert not np.array_equal(draw(n=50, epoch=0), draw(n=50, epoch=1))
    assert not np.array_equal(draw(n=50, seed=1), draw(n=50, seed=2))


def test_a_measurement_is_its_own_label() -> None:
    assert (draw(measured=7.0, n=10) == 7.0).all()
    assert (draw(median=np.nan, measured=7.0, n=10) == 7.0).all()


def test_unknown_traits_stay_missing_and_no_spread_gives_the_median() -> None:
    assert np.isnan(draw(median=np.nan, n=10)).all()
    assert (draw(sd=0.0, n=10) == 2.0).all()
    assert (draw(sd=np.nan, n=10) == 2.0).all()
