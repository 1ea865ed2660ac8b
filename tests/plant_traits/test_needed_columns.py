from __future__ import annotations

import pandas as pd
import pytest

from plant_traits.errors import TableError
from plant_traits.needed_columns import need_columns


def test_a_table_without_a_column_is_refused_by_name() -> None:
    plots = pd.DataFrame({"trait": ["sla"], "value": [1.0]})
    need_columns(plots, "plots", ("value", "trait"))
    need_columns(plots, "plots", ())
    told = r"columns \['latitude', 'n'\] are missing; expected \['latitude', 'trait', 'n'\], found \['trait', 'value'\]"
    with pytest.raises(TableError, match=f"^plots: {told}$"):
        need_columns(plots, "plots", iter(("latitude", "trait", "n")))
