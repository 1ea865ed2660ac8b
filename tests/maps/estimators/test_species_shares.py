from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, dirichlet, multinomial

from maps.estimators.cell_moments import CellMoments
from maps.estimators.species_shares import SpeciesPairs, SpeciesShares, species_shares
from maps.moments.addition import SUMS, merge
from plant_traits.schemas import MOMENTS


def cells_of(*photos: tuple[int, str, str]) -> CellMoments:
    """Photos by cell, species and observer."""
    frame = pd.DataFrame(photos, columns=["cell", "species", "observer"])
    frame = frame.assign(trait="height", evidence="photo", n=1, **dict.fromkeys(SUMS, 1.0))
    return CellMoments.of(merge([frame[MOMENTS.names]]))


def draw(seed: int, cells: int, n: int) -> list[tuple[int, str, str]]:
    rng = np.random.default_rng(seed)
    species, observers = rng.integers(0, 4, (cells, n)), rng.integers(0, 3, (cells, n))
    return [(c, str(species[c, k]), str(observers[c, k])) for c in range(cells) for k in range(n)]


def shares_of(cells: CellMoments, concentration: float, clumping: float = 0.0) -> SpeciesShares:
    return species_shares(cells, np.full(cells.size, concentration), np.full(cells.size, clumping))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 7))
def test_pairs_of_photos_are_counted_as_by_loops(seed: int, n: int) -> None:
    photos = draw(seed, 4, n)
    found = SpeciesPairs.of(cells_of(*photos))
    for c in range(4):
        own = [photo for photo in photos if photo[0] == c]
        pairs = [(a[2] == b[2], a[1] == b[1]) for (i, a), (j, b) in product(enumerate(own), repeat=2) if i != j]
        for together, all_pairs, same in (
            (False, found.apart, found.apart_same),
            (True, found.together, found.together_same),
        ):
            assert all_pairs[c] * n**2 == pytest.approx(sum(t == together for t, _ in pairs))
            assert same[c] * n**2 == pytest.approx(sum(t == together and s for t, s in pairs))


def test_concentration_and_clumping_by_hand() -> None:
    # Cell 0: x sees a and a, y sees a and b. Of 8 ordered pairs apart 4 show one species, of 4 together 2.
    # Cell 1: x sees a and a: nothing to compare with. Over 16, the square of the photos: 8 apart, 4 of them the same.
    cells = cells_of((0, "a", "x"), (0, "a", "x"), (0, "a", "y"), (0, "b", "y"), (1, "a", "x"), (1, "a", "x"))
    concentration, clumping = SpeciesPairs.of(cells).pooled(np.array([0, 0]), 1)
    assert concentration.tolist() == [pytest.approx((0.25 + 0.5) / (0.5 + 1))]
    assert clumping.tolist() == [0.0]  # together as apart: half of the pairs
    # Now y sees b twice: apart 8/16 with none of one species, together 4/16, all of one species.
    cells = cells_of((0, "a", "x"), (0, "a", "x"), (0, "b", "y"), (0, "b", "y"))
    concentration, clumping = SpeciesPairs.of(cells).pooled(np.array([0]), 1)
    assert concentration.tolist() == [pytest.approx(0.5 / 1.5)]
    assert clumping.tolist() == [1.0]


def test_groups_are_pooled_apart_and_cells_may_be_left_out() -> None:
    cells = cells_of(*draw(1, 9, 12))
    pairs = SpeciesPairs.of(cells)
    group = np.array([0, 1, 2, 0, 1, 2, -1, -1, 0])
    concentration, clumping = pairs.pooled(group, 3)
    for k in range(3):
        alone = pairs.pooled(np.where(group == k, 0, -1), 1)
        assert (concentration[k], clumping[k]) == (alone[0][0], alone[1][0])
    assert len(set(concentration)) == 3


def test_many_cells_recover_the_concentration_of_their_communities() -> None:
    concentration, clumping = SpeciesPairs.of(cells_of(*draw(2, 3000, 6))).pooled(np.zeros(3000, dtype=np.int64), 1)
    assert concentration[0] == pytest.approx(0.25, abs=0.01)
    assert clumping[0] == pytest.approx(0.0, abs=0.02)


def test_no_multiple_of_the_photos_shares_has_less_expected_error() -> None:
    """Over all samples of 3 photos of a community, written out."""
    p = np.array([0.5, 0.3, 0.2])
    c = float((p**2).sum())
    samples = [counts for counts in product(range(4), repeat=3) if sum(counts) == 3]
    chance = multinomial.pmf(samples, 3, p)

    def risk(factor: float) -> float:
        return float(chance @ ((factor * np.array(samples) / 3 - p) ** 2).sum(axis=1))

    photos = [
        (k, "abc"[s], str(i)) for k, counts in enumerate(samples) for i, s in enumerate(np.repeat([0, 1, 2], counts))
    ]
    found = shares_of(cells_of(*photos), c)
    factor = np.bincount(cells_of(*photos).of_row, found.of_row)
    np.testing.assert_allclose(factor, 3 / (3 + (1 - c) / c))
    best = risk(float(factor[0]))
    assert best < min(risk(float(factor[0]) - 0.01), risk(float(factor[0]) + 0.01))
    assert chance @ found.error == pytest.approx(best, rel=1e-12)
    assert chance @ found.evenness == pytest.approx(1 - c, rel=1e-12)


def test_errors_are_the_variances_of_a_dirichlet_process() -> None:
    cells = cells_of(*((0, s, str(k)) for k, s in enumerate("aaabbc")))
    spread = 4.0  # concentration 1/5
    found = shares_of(cells, 0.2)
    seen = dirichlet([3, 2, 1, spread])
    unseen = beta(spread, 6)
    # The share of all unseen species is split among them as in a community without any photo.
    expected = seen.var()[:3].sum() + (unseen.var() + unseen.mean() ** 2) / (1 + spread)
    assert found.error.tolist() == [pytest.approx(expected)]
    np.testing.assert_allclose(np.bincount(cells.species_of_row, found.of_row), seen.mean()[:3])
    assert found.evenness.tolist() == [pytest.approx(1 - (seen.mean()[:3] ** 2).sum() - expected)]


def test_photos_of_one_observer_count_as_one_draw_where_all_of_them_show_one_species() -> None:
    cells = cells_of((0, "a", "x"), (0, "a", "x"), (0, "a", "x"), (0, "b", "y"), (1, "a", "x"))
    assert shares_of(cells, 0.2).draws.tolist() == [4.0, 1.0]
    alike = shares_of(cells, 0.2, 1.0)
    assert alike.draws.tolist() == [2.0, 1.0]
    np.testing.assert_allclose(alike.of_row, [1 / 6, 1 / 6, 1 / 5])
    half = shares_of(cells, 0.2, 0.5)
    assert half.draws.tolist() == [pytest.approx(2.5), 1.0]
    np.testing.assert_allclose(half.of_row[:2], [1.5 / 6.5, 1 / 6.5])


def test_no_other_weights_of_observers_give_the_shares_less_variance() -> None:
    """Against the inverse of the photos' covariance, written out: the precision of its mean is the number of draws."""
    observers = [0, 0, 0, 0, 1, 1, 2]
    cells = cells_of(*((0, "a", str(o)) for o in observers))
    same = np.equal.outer(observers, observers)
    for correlation in (0.0, 0.2, 0.9):
        covariance = correlation * same + (1 - correlation) * np.eye(7)
        assert shares_of(cells, 0.3, correlation).draws[0] == pytest.approx(np.linalg.inv(covariance).sum())


def test_more_photos_of_the_same_kind_make_the_shares_surer() -> None:
    photos = [(c, s, f"{c}{s}{k}") for c in range(6) for s in "aab" for k in range(2**c)]
    found = shares_of(cells_of(*photos), 0.3)
    assert (np.diff(found.error) < 0).all()
    assert found.error[-1] < 0.01
