"""Read BROT 2.0, functional traits of Mediterranean plants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_catalog import Trait
from plant_traits.errors import MissingInputError, TableError
from plant_traits.sources.trait_records import Sieve, TraitRecords, finish, to_canonical
from plant_traits.traits import from_working, to_working

# What BROT calls the traits of the catalogue.
BROT_TRAITS = {
    "height": "Height",
    "leaf_area": "LeafArea",
    "sla": "SLA",
    "leaf_n": "LNCm",
    "leaf_p": "LPCm",
    "ldmc": "LDMC",
    "wood_density": "StemDensity",
    "seed_mass": "SeedMass",
    "root_depth": "RootDepth",
}
_GROWTH_FORMS = {
    "tree": "tree",
    "shrub": "shrub",
    "large shrub": "shrub",
    "subshrub": "shrub",
    "annual forb": "herb",
    "perennial forb": "herb",
    "variable forb": "herb",
    "annual graminoid": "herb",
    "perennial graminoid": "herb",
    "variable graminoid": "herb",
    "geophyte": "herb",
}  # lianas and epiphytes are none of the three
_COLUMNS = ["ID", "Taxon", "Trait", "Data", "Units", "DataType", "Lat", "Long", "Accuracy"]
_VAGUE_PLACE = "VLow"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_LIMIT_BYTES = 1024**3


def read_brot(path: Path, source: str, traits: Sequence[Trait]) -> TraitRecords:
    """Read the quantitative values of the given traits from BROT.

    A range such as ``30-60`` becomes its midpoint in the trait's working space, under a logarithm the geometric mean.
    Places of very low accuracy are not taken over: the value counts, without coordinates. A species' growth form is the
    majority of its GrowthForm rows.

    Args:
        path: ``BROT2_dat.csv``, latin-1.
        source: source id of the catalogue.
        traits: traits wanted; those that ``BROT_TRAITS`` does not name are not in BROT.

    Returns:
        The records; ``read`` counts all rows of the file.

    Raises:
        MissingInputError: the file is not there.
        TableError: not such a table, or a column is missing.
    """
    if not path.is_file():
        raise MissingInputError(f"BROT table {path} is not there: fetch it (doi 10.1038/sdata.2018.135)")
    if path.stat().st_size > _LIMIT_BYTES:
        raise TableError(f"{path.name}: {path.stat().st_size} bytes, at most {_LIMIT_BYTES} are accepted")
    try:
        table = pd.read_csv(path, encoding="latin-1", dtype="str")
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(f"{path.name}: not a readable CSV table ({error})") from error
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise TableError(f"{path.name}: columns {missing} of BROT are missing; found {list(table.columns)}")
    trait_of = {BROT_TRAITS[trait.id]: trait.id for trait in traits if trait.id in BROT_TRAITS}
    forms = _growth_forms(table)
    sieve = Sieve(table.assign(trait=table["Trait"].map(trait_of).astype("str")))
    sieve.drop(sieve.rows["trait"].isna(), "other_trait")
    sieve.drop(sieve.rows["DataType"] != "quantitative", "not_quantitative")
    rows = sieve.rows
    vague = rows["Accuracy"] == _VAGUE_PLACE
    sieve.rows = rows.assign(
        id=rows["ID"],
        name=rows["Taxon"],
        value=_values(rows, traits),
        unit=rows["Units"],
        growth_form=rows["Taxon"].map(forms).astype("str"),
        latitude=pd.to_numeric(rows["Lat"], errors="coerce").mask(vague),
        longitude=pd.to_numeric(rows["Long"], errors="coerce").mask(vague),
    )
    to_canonical(sieve, {trait.id: trait for trait in traits})
    return finish(sieve, source, len(table))


def _values(rows: pd.DataFrame, traits: Sequence[Trait]) -> pd.Series:
    bounds = rows["Data"].str.extract(rf"^\s*(?P<low>{_NUMBER})\s*(?:-\s*(?P<high>{_NUMBER}))?\s*$")
    low = pd.to_numeric(bounds["low"], errors="coerce").astype("float64")
    high = pd.to_numeric(bounds["high"], errors="coerce").astype("float64").fillna(low)
    value = low.copy()
    for trait in traits:
        ranged = (rows["trait"] == trait.id) & (low != high)
        middle = (to_working(trait, low[ranged]) + to_working(trait, high[ranged])) / 2
        value[ranged] = from_working(trait, middle)
    return value


def _growth_forms(table: pd.DataFrame) -> dict[str, str]:
    rows = table[table["Trait"] == "GrowthForm"]
    votes = pd.DataFrame({"name": rows["Taxon"], "form": rows["Data"].str.strip().map(_GROWTH_FORMS)}).dropna()
    counts = votes.groupby(["name", "form"]).size().rename("n").reset_index()
    first = counts.sort_values(["name", "n", "form"], ascending=[True, False, True]).drop_duplicates("name")
    return dict(zip(first["name"], first["form"], strict=True))
