"""Weak labels: drawn around the species median or from its records, afresh every epoch, and refused where faulty."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from plant_traits.errors import ModelError
from plant_traits.model.labels import NO_RECORDS, LabelRecords, check_labels, draw_labels

N = 40_000
FOUR_ERRORS = 4 * 0.5 / np.sqrt(N)  # of a share of one half


def draw(
    median: float = 2.0,
    sd: float = 0.5,
    low: float = np.nan,
    high: float = np.nan,
    measured: float = np.nan,
    seed: int = 1,
    epoch: int = 0,
    n: int = N,
    records: LabelRecords | None = None,
) -> np.ndarray:
    columns = [np.full((n, 1), float(value)) for value in (median, sd, low, high, measured)]
    return draw_labels(*columns, seed=seed, epoch=epoch, records=records)


def records(*species: list[float], n: int = N, of: int = 0) -> LabelRecords:
    """Records of one trait, every row of the species ``of``."""
    return LabelRecords(
        values=np.concatenate([np.array(values, dtype=float) for values in species]),
        offsets=np.cumsum([0, *map(len, species)]),
        groups=tuple(("height", f"Aa {'abcdef'[k]}") for k in range(len(species))),
        position=np.full((n, 1), of),
    )


@pytest.mark.parametrize(("low", "high"), [(1.0, 3.0), (1.9, 4.0), (0.5, 2.05), (np.nan, 2.2)])
def test_median_of_the_draws_is_the_species_median_and_bounds_hold(low: float, high: float) -> None:
    labels = draw(low=low, high=high)
    # within four standard errors of a sample median's rank: P(label < median) = 1/2
    assert abs((labels < 2.0).mean() - 0.5) < FOUR_ERRORS
    assert abs((labels > 2.0).mean() - 0.5) < FOUR_ERRORS
    assert labels.max() <= high + 1e-9
    if not np.isnan(low):
        assert labels.min() >= low - 1e-9


def test_the_median_over_epochs_is_the_species_median_of_every_photo() -> None:
    """What one photo is taught over a training run: its own draws, epoch by epoch, not those of many photos."""
    low, high = np.linspace(1.0, 1.99, 200), np.linspace(2.01, 4.0, 200)[::-1]
    columns = [np.full((200, 1), 2.0), np.full((200, 1), 0.5), low[:, None], high[:, None], np.full((200, 1), np.nan)]
    epochs = 400
    above = np.sum([draw_labels(*columns, seed=3, epoch=epoch) > 2.0 for epoch in range(epochs)], axis=0)
    # the probability that any of 200 fair binomials leaves these limits is 1e-4
    limits = stats.binom(epochs, 0.5).ppf([1e-4 / 400, 1 - 1e-4 / 400])
    assert limits[0] <= above.min() < above.max() <= limits[1]


def test_symmetric_bounds_give_the_truncated_normal() -> None:
    labels = draw(low=1.25, high=2.75).ravel()
    truncated = stats.truncnorm(-1.5, 1.5, loc=2.0, scale=0.5)
    assert stats.kstest(labels, truncated.cdf).pvalue > 1e-3


def test_lopsided_bounds_give_two_half_normals() -> None:
    labels = draw(low=1.9, high=2.75).ravel()
    below, above = stats.truncnorm(-0.2, 0, loc=2.0, scale=0.5), stats.truncnorm(0, 1.5, loc=2.0, scale=0.5)
    assert stats.kstest(labels[labels < 2.0], below.cdf).pvalue > 1e-3
    assert stats.kstest(labels[labels > 2.0], above.cdf).pvalue > 1e-3


def test_without_bounds_the_draws_are_normal() -> None:
    assert stats.kstest(draw().ravel(), stats.norm(2.0, 0.5).cdf).pvalue > 1e-3


def test_every_epoch_draws_afresh_and_repeats() -> None:
    assert np.array_equal(draw(n=50), draw(n=50))
    assert not np.array_equal(draw(n=50, epoch=0), draw(n=50, epoch=1))
    assert not np.array_equal(draw(n=50, seed=1), draw(n=50, seed=2))


def test_a_measurement_is_its_own_label() -> None:
    assert (draw(measured=7.0, n=10) == 7.0).all()
    assert (draw(median=np.nan, measured=7.0, n=10) == 7.0).all()
    assert (draw(measured=7.0, n=10, records=records([1.0, 3.0], n=10)) == 7.0).all()


def test_unknown_traits_stay_missing_and_no_spread_gives_the_median() -> None:
    assert np.isnan(draw(median=np.nan, n=10)).all()
    assert (draw(sd=0.0, n=10) == 2.0).all()
    assert (draw(sd=np.nan, n=10) == 2.0).all()


@pytest.mark.parametrize("values", [[1.0, 1.5, 2.5, 9.0], [-3.0, 2.0, 2.5], [1.0, 2.0, 2.0, 2.0, 2.5]])
def test_median_of_the_records_drawn_is_the_species_median(values: list[float]) -> None:
    labels = draw(median=float(np.median(values)), records=records(values))
    assert set(labels.ravel()) == set(values)
    # no more than half of the draws on either side, within four standard errors
    assert (labels < np.median(values)).mean() < 0.5 + FOUR_ERRORS
    assert (labels > np.median(values)).mean() < 0.5 + FOUR_ERRORS


def test_every_record_is_equally_likely() -> None:
    values = [float(value) for value in range(7)]
    drawn, counts = np.unique(records([50.0], values, [60.0], of=1).draw(1, 0), return_counts=True)
    assert drawn.tolist() == values
    assert stats.chisquare(counts).pvalue > 1e-3


def test_records_are_drawn_afresh_every_epoch_and_repeat() -> None:
    some = records(list(range(40)), n=50)
    assert np.array_equal(some.draw(1, 3), some.draw(1, 3))
    assert not np.array_equal(some.draw(1, 3), some.draw(1, 4))
    assert not np.array_equal(some.draw(1, 3), some.draw(2, 3))


def test_the_choice_of_records_does_not_follow_the_two_sided_draw() -> None:
    both = np.column_stack([draw(n=4000), records(list(range(100)), n=4000).draw(1, 0)])
    assert abs(stats.spearmanr(both).statistic) < 4 / np.sqrt(4000)


def test_a_species_with_one_record_is_labelled_with_it() -> None:
    assert (draw(sd=np.nan, records=records([1.5, 2.5], [2.0], n=10, of=1), n=10) == 2.0).all()


def test_species_without_records_take_the_two_sided_draw() -> None:
    half = records([10.0, 20.0], n=50)
    half.position[::2] = NO_RECORDS
    labels = draw(n=50, records=half)
    assert np.array_equal(labels[::2], draw(n=50)[::2])
    assert set(labels[1::2].ravel()) == {10.0, 20.0}


def test_a_label_hidden_from_a_row_stays_hidden_whatever_its_species_records() -> None:
    assert np.isnan(draw(median=np.nan, records=records([1.0, 3.0], n=10), n=10)).all()


def test_rows_share_their_values() -> None:
    some = records([1.0], [2.0], n=4)
    some.position[:, 0] = [0, 1, NO_RECORDS, 1]
    chosen = some.rows(np.array([True, False, True, True]))
    assert np.array_equal(chosen.draw(1, 0).ravel(), [1.0, np.nan, 2.0], equal_nan=True)
    assert chosen.values is some.values


def test_columns_keep_their_trait() -> None:
    both = replace(records([1.0], [2.0], n=3), position=np.tile([0, 1], (3, 1)))
    assert both.columns([1]).draw(1, 0).tolist() == [[2.0]] * 3
    assert both.columns([1, 0]).draw(1, 0).tolist() == [[2.0, 1.0]] * 3


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_records_that_are_no_numbers_are_refused_by_name(wrong: float) -> None:
    with pytest.raises(ModelError, match=rf"found {wrong} for height of Aa b"):
        records([1.0, 2.0], [3.0, wrong], [4.0])


def test_records_that_do_not_fit_are_refused() -> None:
    some = records([1.0, 2.0], [3.0], n=4)
    with pytest.raises(ModelError, match="one value of height of Aa b, found none"):
        records([1.0], [])
    with pytest.raises(ModelError, match="positions from -1 to 1, found 0 to 2"):
        replace(some, position=np.array([[0], [2]]))
    with pytest.raises(ModelError, match="positions by row and trait"):
        replace(some, position=np.zeros(4, dtype=np.int64))
    with pytest.raises(ModelError, match="expected 3 offsets from 0 to 3"):
        replace(some, offsets=np.array([0, 2, 4]))
    with pytest.raises(ModelError, match="expected 3 offsets"):
        replace(some, offsets=np.array([], dtype=np.int64))


def labels(**changed: float) -> dict[str, np.ndarray]:
    """Labels of three rows and two traits; ``changed`` is set in row 2 of the second."""
    given = {"measured": np.nan, "median": 2.0, "sd": 0.5, "low": 1.0, "high": 3.0}
    arrays = {name: np.full((3, 2), value) for name, value in given.items()}
    for name, value in changed.items():
        arrays[name][2, 1] = value
    return arrays


@pytest.mark.parametrize(
    "known",
    [{"measured": 4.0}, {"median": np.nan}, {"sd": np.nan}, {"sd": 0.0}, {"low": np.nan}, {"high": np.nan},
     {"low": -np.inf, "high": np.inf}, {"low": 2.0, "high": 2.0}],
)  # fmt: skip
def test_labels_that_are_unknown_or_unbounded_are_no_fault(known: dict[str, float]) -> None:
    check_labels(["height", "sla"], **labels(**known))
    drawn = draw_labels(**labels(**known), seed=1, epoch=0)
    assert np.isnan(drawn).sum() == ("median" in known)
    assert not np.isinf(drawn).any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"measured": np.inf}, "finite measurements"),
        ({"median": -np.inf}, "finite medians"),
        ({"sd": np.inf}, "finite standard deviations"),
        ({"sd": -0.5}, "standard deviations of zero or more"),
        ({"low": 3.5}, "lower bounds no higher than upper ones"),
        ({"low": np.inf, "high": np.nan}, "lower bounds no higher"),
        ({"high": -np.inf, "low": np.nan}, "lower bounds no higher"),
    ],
)
def test_labels_that_cannot_be_drawn_are_refused_by_trait_and_row(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ModelError, match=rf"labels of sla: expected .*{message}.* in row 2 and 1 such"):
        check_labels(["height", "sla"], **labels(**wrong))


def test_records_of_other_rows_are_refused() -> None:
    arrays = {name: array[:, :1] for name, array in labels().items()}
    check_labels(["height"], **arrays, records=records([1.0, 2.0], n=3))
    with pytest.raises(ModelError, match="align them by row"):
        check_labels(["height"], **arrays, records=records([1.0, 2.0], n=4))
