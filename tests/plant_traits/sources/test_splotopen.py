from __future__ import annotations

import math
from pathlib import Path

import pytest

from data_catalog import Catalog
from plant_traits.errors import MissingInputError, TableError
from plant_traits.sources.splotopen import CWM_FILE, HEADER_FILE, read_plots

HEADER = """PlotObservationID\tGIVD_ID\tLatitude\tLongitude\tLocation_uncertainty\tReleve_area
16\tEU-1\t50.5\t10.5\t100\t25
17\tEU-1\t51.5\t11.5\t60000\t25
18\tEU-1\t52.5\t12.5\tNA\tNA
19\tEU-1\tNA\tNA\t10\t25
20\tEU-1\t53\t13\t10\t25
"""
MEANS = """PlotObservationID\tTraitCoverage_cover\tSLA_CWM\tPlantHeight_CWM\tfoo_CWM\tSLA_CWV
16\t0.9\t2.5\t-0.5\t0.0\t0.1
17\t0.9\t2.5\t-0.5\t0.0\t0.1
18\t0.5\t2.0\tNA\t1.0\t0.1
19\t0.9\t2.5\t-0.5\t0.0\t0.1
20\t0.49\t2.5\t-0.5\t0.0\t0.1
21\t0.9\t2.5\t-0.5\t0.0\t0.1
"""


def test_plots_are_selected_and_losses_counted(tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / HEADER_FILE).write_text(HEADER)
    (tmp_path / CWM_FILE).write_text(MEANS)
    foo = catalog.trait("sla").model_copy(update={"id": "foo", "working_space": "identity"})
    found = read_plots(tmp_path, [catalog.trait("sla"), catalog.trait("height"), foo])
    assert found.plots[["plot_id", "trait", "value"]].to_numpy().tolist() == [
        ["16", "sla", 2.5],
        ["18", "sla", 2.0],
        ["16", "height", -0.5],
        ["16", "foo", 1.0],
        ["18", "foo", math.e],
    ]
    assert found.plots.loc[0, ["latitude", "longitude"]].tolist() == [50.5, 10.5]
    assert found.rejected == {
        "in_one_table_only": 1,
        "location_uncertain": 1,
        "no_coordinates": 1,
        "no_value": 1,
        "trait_coverage": 1,
    }


def test_missing_tables_and_columns_are_named(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(MissingInputError, match="header"):
        read_plots(tmp_path, [catalog.trait("sla")])
    (tmp_path / HEADER_FILE).write_text(HEADER)
    (tmp_path / CWM_FILE).write_text(MEANS.replace("SLA_CWM", "SLA"))
    with pytest.raises(TableError, match="SLA_CWM"):
        read_plots(tmp_path, [catalog.trait("sla")])
    (tmp_path / CWM_FILE).write_text(MEANS.replace("2.5", "many"))
    with pytest.raises(TableError, match="not a readable table"):
        read_plots(tmp_path, [catalog.trait("sla")])
