from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maps.estimators.cell_moments import CellMoments
from maps.estimators.estimate import mixed, mixed_equal, variance_components
from maps.estimators.pooled_components import MINIMUM_CELLS, components_of_cells, pool_components, read_components
from maps.moments.addition import merge
from plant_traits.errors import TableError
from plant_traits.schemas import COMPONENTS, MOMENTS, write_table


def draw(seed: int, cells: int, n: int, *, sd: tuple[float, float], first: int = 0, species: int = 12) -> pd.DataFrame:
    """Moments of cells with effects of species and observers of those standard deviations."""
    rng = np.random.default_rng(seed)
    kind, observer = rng.integers(0, species, (cells, n)), rng.integers(0, 6, (cells, n))
    v = 0.09 * np.exp(rng.normal(0, 1, (cells, n)))
    y = np.take_along_axis(rng.normal(0, sd[0], (cells, species)), kind, 1) + rng.normal(0, np.sqrt(v))
    y += np.take_along_axis(rng.normal(0, sd[1], (cells, 6)), observer, 1)
    y, v = y.ravel(), v.ravel()
    w = 1 / v
    columns = {"cell": first + np.repeat(np.arange(cells), n), "n": 1, "trait": "height", "evidence": "photo"}
    columns |= {"species": kind.ravel().astype(str), "observer": observer.ravel().astype(str)}
    columns |= {"sum_w": w, "sum_wy": w * y, "sum_wy2": w * y * y, "sum_y": y, "sum_y2": y * y}
    columns |= {"sum_v": v, "sum_w2": w * w, "sum_aleatoric": v / 2}
    return merge([pd.DataFrame(columns)[MOMENTS.names]])


QUIET, LOUD = draw(5, 40, 30, sd=(0.1, 0.05)), draw(6, 40, 30, sd=(0.8, 0.5), first=100, species=5)
FEW, UNKNOWN = draw(7, MINIMUM_CELLS - 1, 30, sd=(0.8, 0.5), first=200), draw(8, 2, 30, sd=(0.35, 0.15), first=300)
WHOLE = merge([QUIET, LOUD, FEW, UNKNOWN])
BIOME = {c: "quiet" for c in range(40)} | {c: "loud" for c in range(100, 140)} | {c: "few" for c in range(200, 209)}


def test_a_biome_has_components_of_its_own_where_its_cells_suffice() -> None:
    components = variance_components(WHOLE, BIOME)
    assert components["biome"].fillna("all").tolist() == ["loud", "quiet", "all"]
    assert components["cells"].tolist() == [40, 40, MINIMUM_CELLS - 1 + 2]
    assert components["cells_of_species"].tolist() == [40, 40, 91]
    loud, quiet, everywhere = components["species_variance"]
    assert quiet < 0.03 < everywhere < loud
    np.testing.assert_allclose(components["concentration"], [1 / 5, 1 / 12, 0.14], atol=0.02)
    alone = variance_components(QUIET).iloc[0]
    for name in ("species_variance", "observer_variance", "concentration", "clumping"):
        assert components.loc[1, name] == pytest.approx(alone[name], rel=1e-7)
        assert components.loc[2, name] == pytest.approx(variance_components(WHOLE).loc[0, name], rel=1e-12)


@pytest.mark.parametrize("estimator", [mixed, mixed_equal])
def test_cells_take_the_components_of_their_biome_or_of_all_cells(estimator: Callable[..., pd.DataFrame]) -> None:
    found = estimator(WHOLE, BIOME)
    pd.testing.assert_frame_equal(found.head(40), estimator(QUIET), rtol=1e-7)
    together = estimator(WHOLE).set_index("cell")
    for column in ("location", "standard_error"):
        np.testing.assert_allclose(found.set_index("cell").loc[200:, column], together.loc[200:, column], rtol=1e-7)


def test_parts_of_the_cells_give_what_all_cells_give_at_once() -> None:
    parts = [CellMoments.of(part) for part in (QUIET, LOUD, FEW, UNKNOWN)]
    found = pool_components(parts, "height", "photo", pd.Series(BIOME))
    pd.testing.assert_frame_equal(found, variance_components(WHOLE, BIOME), check_exact=True)


def test_components_are_written_and_read(tmp_path: Path) -> None:
    components = variance_components(WHOLE, BIOME)
    write_table(components, tmp_path / "components.parquet", COMPONENTS)
    pd.testing.assert_frame_equal(read_components(tmp_path), components, check_dtype=False, check_exact=True)
    of_cells = components_of_cells(read_components(tmp_path), "height", np.array([0, 120, 300]), BIOME)
    quiet, loud, everywhere = (components.iloc[k] for k in (1, 0, 2))
    for k, row in enumerate((quiet, loud, everywhere)):
        assert of_cells.variance[k].tolist() == [row["species_variance"], row["observer_variance"]]
        assert of_cells.covariance[k, 0, 0] == row["species_variance_error"] ** 2
        assert of_cells.covariance[k, 0, 1] == of_cells.covariance[k, 1, 0] == row["covariance"]
        assert of_cells.concentration[k] == row["concentration"]


def test_components_that_do_not_fit_the_cells_are_refused(tmp_path: Path) -> None:
    components = variance_components(WHOLE, BIOME)
    own = components[components["biome"].notna()]
    with pytest.raises(TableError, match="11 cells of height find none, first cell 200"):
        mixed(WHOLE, BIOME, own)
    with pytest.raises(TableError, match="find none"):
        mixed(WHOLE.assign(trait="sla"), BIOME, components)
    with pytest.raises(TableError, match="twice for a biome"):
        mixed(WHOLE, BIOME, pd.concat([components, components]))
    with pytest.raises(TableError, match="'clumping'"):
        mixed(WHOLE, BIOME, components.drop(columns="clumping"))
    with pytest.raises(TableError, match="not a readable Parquet file"):
        read_components(tmp_path)


def test_no_cell_gives_no_components() -> None:
    assert list(pool_components([], "height", "photo")) == COMPONENTS.names
    assert len(pool_components([], "height", "photo")) == 0
