"""Read measured leaf traits by site: one row per species and site, one column per trait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_catalog import Trait
from plant_traits.errors import MissingInputError, TableError
from plant_traits.sources.stable_hash import row_hash_text
from plant_traits.sources.trait_records import Sieve, TraitRecords, finish, to_canonical

# The table's column of each trait of the catalogue, and the unit that its values are in.
SITE_COLUMNS = {"sla": ("sla", "m2 kg-1"), "leaf_n": ("lnm", "mg g-1"), "leaf_p": ("lpm", "mg g-1")}
_GROWTH_FORMS = {"Needleleafs": "tree", "Broadleafs": "tree", "Shrubs": "shrub", "Grasses": "herb"}
_COLUMNS = ["species", "LAT_site", "LON_site", "superPFT"]
_LIMIT_BYTES = 1024**3


def read_site_records(path: Path, source: str, traits: Sequence[Trait]) -> TraitRecords:
    """Read the values of the given traits from the site table.

    The growth form is that of the plant functional type: needle-leaved and broad-leaved types are trees.

    Args:
        path: the CSV file; coordinates in degrees, EPSG:4326.
        source: source id of the catalogue.
        traits: traits wanted; those that ``SITE_COLUMNS`` does not name are not in the table.

    Returns:
        The records; ``read`` counts rows times wanted traits, and ``no_value`` those that were not measured.

    Raises:
        MissingInputError: the file is not there.
        TableError: not such a table, or a column is missing.
    """
    if not path.is_file():
        raise MissingInputError(f"site table {path} is not there: correct its path in the profile")
    if path.stat().st_size > _LIMIT_BYTES:
        raise TableError(f"{path.name}: {path.stat().st_size} bytes, at most {_LIMIT_BYTES} are accepted")
    try:
        table = pd.read_csv(path, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise TableError(f"{path.name}: not a readable CSV table ({error})") from error
    wanted = {trait.id: SITE_COLUMNS[trait.id] for trait in traits if trait.id in SITE_COLUMNS}
    missing = [name for name in [*_COLUMNS, *(column for column, _ in wanted.values())] if name not in table.columns]
    if missing:
        raise TableError(f"{path.name}: columns {missing} are missing; found {list(table.columns)}")
    content = row_hash_text(table, list(table.columns))
    shared = pd.DataFrame(
        {
            "id": content + "-" + content.groupby(content).cumcount().astype("str"),
            "name": table["species"].astype("str"),
            "growth_form": table["superPFT"].map(_GROWTH_FORMS).astype("str"),
            "latitude": table["LAT_site"],
            "longitude": table["LON_site"],
        }
    )
    by_trait = [
        shared.assign(trait=trait_id, unit=unit, value=pd.to_numeric(table[column], errors="coerce").astype("float64"))
        for trait_id, (column, unit) in wanted.items()
    ]
    rows = pd.concat(by_trait, ignore_index=True) if by_trait else shared.head(0).assign(trait="", unit="", value=0.0)
    sieve = Sieve(rows)
    to_canonical(sieve, {trait.id: trait for trait in traits})
    return finish(sieve, source, len(rows))
