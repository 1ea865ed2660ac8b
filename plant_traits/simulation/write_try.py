"""Write a release of trait measurements in TRY's format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.simulation.flora import Flora
from plant_traits.simulation.names import synonyms
from plant_traits.simulation.planet import Planet
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import TraitModel
from plant_traits.traits import from_working

COLUMNS = ("LastName", "FirstName", "DatasetID", "Dataset", "SpeciesName", "AccSpeciesID", "AccSpeciesName",
           "ObservationID", "ObsDataID", "TraitID", "TraitName", "DataID", "DataName", "OriglName", "OrigValueStr",
           "OrigUnitStr", "ValueKindName", "OrigUncertaintyStr", "UncertaintyName", "Replicates", "StdValue",
           "UnitName", "RelUncertaintyPercent", "OrigObsDataID", "ErrorRisk", "Reference", "Comment")  # fmt: skip
_ABSENT = 0.10  # share of species without any value of a trait
_PLACED = 0.35  # share of observations whose place is given
_TRY_UNITS = {"m2 kg-1": "mm2 mg-1", "mg g-1": "mg/g"}  # TRY's spelling of canonical units
_OTHER_UNITS = {"m": ("cm", 100.0), "mm2": ("cm2", 0.01), "m2 kg-1": ("cm2/g", 10.0), "mg g-1": ("%", 0.1)}
_PEOPLE = (("Alder", "Ines"), ("Birk", "Tom"), ("Castaño", "Lucía"), ("Dür", "Jörg"), ("Elm", "Ada"))
_GROWTH = {"tree": "tree", "shrub": "Shrub", "forb": "herb", "graminoid": "graminoid"}


def write_try(seed: int, planet: Planet, flora: Flora, models: Sequence[TraitModel], path: Path) -> dict[str, int]:
    """Write a release: several plants of each species at places of its range, with the errors releases have.

    Its taxonomy is not GBIF's: a species that has a synonym is called by it.

    Args:
        seed: of the world.
        planet: where plants grow.
        flora: the species.
        models: the traits to measure; those without a TRY id are not in TRY.
        path: the text file, latin-1, tab-separated, an empty 28th column.

    Returns:
        Counts of rows and observations.
    """
    rng = stream(seed, "try")
    plants = _plants(rng, planet, flora)
    rows = [_values(rng, seed, plants, model) for model in models if model.trait.try_ids]
    rows += [_covariates(rng, plants), _growth_forms(plants, flora)]
    table = pd.concat(rows, ignore_index=True)
    table = table.sort_values(["ObservationID", "DataID"], kind="stable", ignore_index=True)
    table["ObsDataID"] = 1_000_000 + np.arange(len(table)) * 3
    table = _with_duplicates(rng, table)
    species = flora.species.iloc[table["species"].to_numpy()]
    older = synonyms(flora.species["species"].tolist(), flora.species["genus"].tolist())
    name = flora.species["species"].copy()
    name.iloc[list(older.values())] = list(older)
    called = name.iloc[table["species"].to_numpy()].to_numpy()
    who = table["dataset"].to_numpy()
    table = table.assign(
        LastName=np.array([name for name, _ in _PEOPLE])[who],
        FirstName=np.array([name for _, name in _PEOPLE])[who],
        DatasetID=20 + who,
        Dataset=np.array([f"Virtual Traits of {name}" for name, _ in _PEOPLE])[who],
        SpeciesName=called,
        AccSpeciesID=species["taxon_key"].to_numpy() - 5_200_000,
        AccSpeciesName=called,
        Reference="Simulated; not an observation of nature",
    )
    lines = table.reindex(columns=list(COLUMNS)).astype(object)
    lines = lines.where(lines.notna(), "").map(str)
    text = ["\t".join([*COLUMNS, ""]), *("\t".join([*row, ""]) for row in lines.itertuples(index=False, name=None))]
    path.write_text("\n".join(text) + "\n", encoding="latin-1")
    return {"rows": len(table), "observations": len(plants)}


def _plants(rng: np.random.Generator, planet: Planet, flora: Flora) -> pd.DataFrame:
    """Return measured plants: species, a place of its range, and how they are documented."""
    count = np.clip(rng.lognormal(2.2, 0.5, len(flora.species)).astype(np.int64), 4, 40)
    species = np.repeat(np.arange(len(count)), count)
    cell = np.empty(species.size, dtype=np.int64)
    for index in range(len(count)):
        weight = flora.share[:, index].astype(np.float64)
        cell[species == index] = rng.choice(flora.cells, count[index], p=weight / weight.sum())
    latitude, longitude = planet.grid.centre_of(cell)
    jitter = rng.uniform(-0.2, 0.2, (2, species.size))
    state = rng.random(species.size)
    return pd.DataFrame(
        {
            "species": species,
            "ObservationID": 90_000 + np.arange(species.size),
            "dataset": rng.integers(0, len(_PEOPLE), species.size),
            "latitude": (latitude + jitter[0]).round(4),
            "longitude": (longitude + jitter[1]).round(4),
            "placed": rng.random(species.size) < _PLACED,
            "juvenile": state < 0.02,
            "experiment": (state >= 0.02) & (state < 0.04),
        }
    )


def _values(rng: np.random.Generator, seed: int, plants: pd.DataFrame, model: TraitModel) -> pd.DataFrame:
    trait = model.trait
    absent = stream(seed, "try absent", trait.id).random(int(plants["species"].max()) + 1) < _ABSENT
    measured = (rng.random(len(plants)) < 0.7) & ~absent[plants["species"].to_numpy()]
    rows = plants[measured].reset_index(drop=True)
    places = rows["latitude"].to_numpy(), rows["longitude"].to_numpy()
    working = model.draw(rng, rows["species"].to_numpy(), *places)
    working = working + np.where(rows["juvenile"], -1.0, 0.0) + np.where(rows["experiment"], 0.4, 0.0)
    value = np.clip(from_working(trait, working), *trait.valid_range)
    kind = rng.choice(
        ["Single", "Mean", "Best estimate", "Minimum", "Maximum"], len(rows), p=[0.6, 0.25, 0.11, 0.02, 0.02]
    )
    value = np.where(kind == "Minimum", value * 0.6, np.where(kind == "Maximum", value * 1.6, value))
    risk = np.abs(rng.normal(1.2, 0.8, len(rows)))
    wild = rng.random(len(rows)) < 0.015
    risk = np.where(wild, rng.uniform(4.2, 7, len(rows)), np.clip(risk, 0, 3.9))
    value = np.where(wild, value * rng.choice([0.02, 40.0], len(rows)), value)
    other = rng.random(len(rows)) < 0.2
    unit, factor = _OTHER_UNITS.get(trait.unit, (trait.unit, 1.0))
    known_risk = rng.random(len(rows)) < 0.85
    table: pd.DataFrame = rows[["species", "dataset", "ObservationID"]].assign(
        TraitID=trait.try_ids[0],
        TraitName=f"{trait.long_name or trait.name} (virtual)",
        DataID=6000 + trait.try_ids[0],
        DataName=trait.name,
        OriglName=trait.id,
        OrigValueStr=_text(np.where(other, value * factor, value)),
        OrigUnitStr=np.where(other, unit, _TRY_UNITS.get(trait.unit, trait.unit)),
        ValueKindName=kind,
        StdValue=_text(value),
        UnitName=_TRY_UNITS.get(trait.unit, trait.unit),
        ErrorRisk=np.where(known_risk | wild, _text(risk), ""),
    )
    return table


def _covariates(rng: np.random.Generator, plants: pd.DataFrame) -> pd.DataFrame:
    placed = plants[plants["placed"]]
    parts = [
        _covariate(placed, 59, "Latitude", placed["latitude"].astype(str), "decimal degrees"),
        _covariate(placed, 60, "Longitude", placed["longitude"].astype(str), "decimal degrees"),
        _covariate(
            plants[plants["juvenile"]], 413, "Plant developmental status / plant age / maturity", "juvenile", ""
        ),
    ]
    experiment = plants[plants["experiment"]]
    where = rng.choice(["growth chamber", "greenhouse"], len(experiment))
    return pd.concat([*parts, _covariate(experiment, 327, "Exposition", where, "")], ignore_index=True)


def _covariate(
    plants: pd.DataFrame, data_id: int, name: str, text: pd.Series | npt.NDArray[np.str_] | str, unit: str
) -> pd.DataFrame:
    number = text if isinstance(text, pd.Series) else ""
    return plants[["species", "dataset", "ObservationID"]].assign(
        DataID=data_id,
        DataName=name,
        OriglName=name,
        OrigValueStr=text,
        OrigUnitStr=unit,
        ValueKindName="Single",
        StdValue=number,
    )


def _growth_forms(plants: pd.DataFrame, flora: Flora) -> pd.DataFrame:
    first = plants.drop_duplicates("species")
    form = flora.species["habit"].map(_GROWTH).to_numpy()[first["species"].to_numpy()]
    return first[["species", "dataset", "ObservationID"]].assign(
        TraitID=42,
        TraitName="Plant growth form",
        DataID=47,
        DataName="Plant growth form",
        OriglName="growth form",
        OrigValueStr=form,
    )


def _with_duplicates(rng: np.random.Generator, table: pd.DataFrame) -> pd.DataFrame:
    """Append rows that repeat another contributor's, as TRY marks them."""
    values = np.flatnonzero(table["StdValue"].notna() & (table["TraitID"] != 42) & table["TraitID"].notna())
    chosen = np.sort(rng.choice(values, max(1, values.size // 40), replace=False))
    copies = table.iloc[chosen].copy()
    copies["OrigObsDataID"] = copies["ObsDataID"]
    copies["ObsDataID"] = table["ObsDataID"].max() + 3 * (1 + np.arange(len(copies)))
    copies["dataset"] = (copies["dataset"] + 1) % len(_PEOPLE)
    whole = pd.concat([table, copies], ignore_index=True)
    for column in ("TraitID", "DataID", "OrigObsDataID", "ObsDataID"):
        whole[column] = whole[column].astype("Int64")
    return whole


def _text(value: npt.NDArray[np.float64]) -> npt.NDArray[np.str_]:
    return np.array([f"{x:.6g}" for x in value])
