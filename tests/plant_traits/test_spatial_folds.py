from __future__ import annotations

import numpy as np
import pytest

from plant_traits.errors import GridError
from plant_traits.spatial_folds import block_of, spatial_folds


def test_blocks_are_squares_of_degrees() -> None:
    block = block_of([89.5, 85.5, 84.5, 89.5, 89.5], [-179.5, -175.5, -179.5, -174.5, 179.5], 5.0)
    assert block[0] == block[1]
    assert len(set(block.tolist())) == 4
    with pytest.raises(GridError, match="positive size"):
        block_of([0.0], [0.0], 0.0)


def test_blocks_stay_whole_and_keep_their_fold_when_others_come() -> None:
    block = np.random.default_rng(9).integers(0, 40, 300)
    fold = spatial_folds(block, 4)
    assert sorted(set(fold.tolist())) == [0, 1, 2, 3]
    for name in np.unique(block):
        assert len(set(fold[block == name])) == 1
    few = block < 20
    np.testing.assert_array_equal(spatial_folds(block[few], 4), fold[few])


def test_where_all_blocks_fall_in_one_fold_each_is_its_own() -> None:
    of_one = [block for block in range(200) if spatial_folds(np.array([block, *range(50)]), 4)[0] == 2][:3]
    assert sorted(set(spatial_folds(np.repeat(of_one, 2), 4).tolist())) == [0, 1, 2]


def test_points_that_tell_fall_in_several_folds() -> None:
    of_one = [block for block in range(200) if spatial_folds(np.array([block, *range(50)]), 4)[0] == 2][:3]
    others = [block for block in range(60) if block not in of_one][:20]
    block = np.array([*of_one, *others])
    told = np.isin(block, of_one)
    assert len(set(spatial_folds(block, 4)[told].tolist())) == 1
    assert len(set(spatial_folds(block, 4, told)[told].tolist())) == 3


def test_folds_do_not_depend_on_order_and_are_about_as_large() -> None:
    rng = np.random.default_rng(7)
    block = rng.integers(0, 2000, 5000)
    fold = spatial_folds(block, 5)
    order = rng.permutation(len(block))
    np.testing.assert_array_equal(spatial_folds(block[order], 5), fold[order])
    share = np.bincount(fold) / len(fold)
    assert len(share) == 5
    assert share.min() > 0.17
    assert share.max() < 0.23
