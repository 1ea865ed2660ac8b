"""The run on real files: published figures are reproduced, and ours reach what they must."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.system, pytest.mark.real]


@pytest.fixture(scope="module")
def scores(real_data: Path, run_refresh, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    run = run_refresh(tmp_path_factory.mktemp("real"), profile="real", data=str(real_data))
    table = pd.read_csv(run.release / "scores.csv")
    return table[(table["scale"] == "ln") & (table["cells"] == "own")].set_index(["map", "trait"])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("trait", "r"), [("height", 0.58), ("leaf_area", 0.51), ("sla", 0.53), ("leaf_n", 0.40)])
def test_wolf_2022_is_reproduced(scores: pd.DataFrame, trait: str, r: float) -> None:
    assert scores.loc[("wolf-2022", trait), "pearson_r"] == pytest.approx(r, abs=0.01)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("trait", "least"), [("sla", 0.41), ("leaf_n", 0.36)])
def test_our_map_reaches_a_plain_random_forest(scores: pd.DataFrame, trait: str, least: float) -> None:
    assert scores.loc[("published", trait), "pearson_r"] >= least
    assert scores.loc[("published", trait), "n"] > 2000
