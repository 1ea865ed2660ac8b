"""Read sPlotOpen's tables: community-weighted trait means of vegetation plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from data_catalog import Trait
from plant_traits.errors import MissingInputError, TableError
from plant_traits.sources.trait_records import Sieve

HEADER_FILE = "sPlotOpen_header(3).txt"
CWM_FILE = "sPlotOpen_CWM_CWV(2).txt"
# What sPlotOpen calls the traits of the catalogue; another trait is looked for under its own id.
CWM_COLUMNS = {
    "height": "PlantHeight_CWM",
    "leaf_area": "LeafArea_CWM",
    "sla": "SLA_CWM",
    "leaf_n": "LeafN_CWM",
    "leaf_p": "LeafP_CWM",
    "ldmc": "LDMC_CWM",
    "wood_density": "StemDens_CWM",
    "seed_mass": "SeedMass_CWM",
}
WORST_LOCATION_M = 50_000.0
LEAST_COVERAGE = 0.5


@dataclass(frozen=True)
class PlotMeans:
    """Community-weighted means of plots, and how many plots were left out, by reason.

    Attributes:
        plots: plot_id, latitude, longitude (degrees, EPSG:4326), trait, value (working space).
        rejected: plots left out, by reason; ``no_value`` counts plots × traits.
    """

    plots: pd.DataFrame
    rejected: dict[str, int] = field(default_factory=dict)


def read_plots(folder: Path, traits: Sequence[Trait]) -> PlotMeans:
    """Read the community-weighted means of the given traits, keeping well located and well covered plots.

    Plots located worse than 50 km, or where traits are known for less than half of the cover, are dropped; a plot whose
    uncertainty is not stated is kept. sPlotOpen's means are means of natural logarithms: for a trait whose working
    space is the identity they are brought back by the exponential.

    Args:
        folder: holds ``sPlotOpen_header(3).txt`` and ``sPlotOpen_CWM_CWV(2).txt``.
        traits: traits wanted.

    Raises:
        MissingInputError: a table is not there.
        TableError: a column is missing.
    """
    columns = {trait.id: CWM_COLUMNS.get(trait.id, f"{trait.id}_CWM") for trait in traits}
    header = _read(folder / HEADER_FILE, ["PlotObservationID", "Latitude", "Longitude", "Location_uncertainty"])
    means = _read(folder / CWM_FILE, ["PlotObservationID", "TraitCoverage_cover", *columns.values()])
    for name, table in ((HEADER_FILE, header), (CWM_FILE, means)):
        if not table["PlotObservationID"].is_unique:
            raise TableError(f"{name}: PlotObservationID is not unique; use the table as published")
    sieve = Sieve(header.merge(means, on="PlotObservationID", how="outer", indicator=True, sort=True))
    sieve.drop(sieve.rows["_merge"] != "both", "in_one_table_only")
    located = (sieve.rows["Latitude"].abs() <= 90) & (sieve.rows["Longitude"].abs() <= 180)
    sieve.drop(~located, "no_coordinates")
    sieve.drop(sieve.rows["Location_uncertainty"] > WORST_LOCATION_M, "location_uncertain")
    sieve.drop(~(sieve.rows["TraitCoverage_cover"] >= LEAST_COVERAGE), "trait_coverage")
    rows = sieve.rows
    parts = []
    for trait in traits:
        logarithms = rows[columns[trait.id]].to_numpy(dtype=np.float64)
        parts.append(
            pd.DataFrame(
                {
                    "plot_id": rows["PlotObservationID"].astype("int64").astype("str").to_numpy(),
                    "latitude": rows["Latitude"].to_numpy(),
                    "longitude": rows["Longitude"].to_numpy(),
                    "trait": trait.id,
                    "value": logarithms if trait.working_space == "ln" else np.exp(logarithms),
                }
            )
        )
    values = Sieve(pd.concat(parts, ignore_index=True), sieve.rejected)
    values.drop(~np.isfinite(values.rows["value"]), "no_value")
    return PlotMeans(values.rows.reset_index(drop=True), dict(sorted(values.rejected.items())))


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise MissingInputError(f"sPlotOpen table {path} is not there: fetch it (doi 10.25829/idiv.3474-bb7k72)")
    try:
        table = pd.read_csv(path, sep="\t", encoding="utf-8", na_values=["NA"], usecols=lambda name: name in columns)
        missing = [name for name in columns if name not in table.columns]
        if missing:
            raise TableError(f"{path.name}: columns {missing} are missing; use the table as published")
        return table.astype(dict.fromkeys(columns, "float64"))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError, ValueError) as error:
        raise TableError(f"{path.name}: not a readable table of plots ({error})") from error
