"""Write who identified the observations of a virtual iNaturalist, for its API alone."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from plant_traits.simulation.identifications import Seen, simulate_identifications
from plant_traits.simulation.records import INAT_DATASET
from plant_traits.simulation.write_inaturalist import build_taxa

IDENTIFICATIONS, TAXA = "identifications.parquet", "taxa.parquet"


def write_identifications(
    first: pd.DataFrame,
    now: pd.DataFrame,
    species: pd.DataFrame,
    truth: Path,
    seed: int,
    folder: Path,
    *,
    first_day: date,
    until: date,
) -> int:
    """Write ``identifications.parquet`` and ``taxa.parquet`` (of all that may be named) beside the observations.

    What an observation truly shows is read from the world's truth: that of its record or, where its photo mirrors
    another, that of the other's. It is in no answer: the crowd's names are.

    Args:
        first: columns of the world's first archive's occurrence.txt, as text.
        now: the same of the month's archive.
        species: the world's species: columns order, family, genus and species.
        truth: the world's ``records.parquet``; where it is not there, every stated name is right.
        seed: of the world.
        folder: has ``observations.parquet`` of ``write_inaturalist`` and receives the files.
        first_day: of the world's first month.
        until: first day after the month that the files are of.

    Returns:
        Number of identifications.
    """
    observations = pd.read_parquet(folder / "observations.parquet")
    seen = Seen(
        number=observations["id"].to_numpy(np.int64),
        user=observations["observer_id"].to_numpy(np.int64),
        stated=observations["species"].to_numpy(object),
        true=_shown(observations, truth).to_numpy(object),
        day=pd.to_datetime(observations["observed_on"], format="%Y-%m-%d", errors="coerce").to_numpy("datetime64[D]"),
    )
    by_frequency = first["species"].value_counts().reindex(species["species"]).fillna(0).to_numpy()
    ranked = species.iloc[np.lexsort((species["species"].to_numpy(), -by_frequency))].reset_index(drop=True)
    people = 1000 + 7 * np.arange(first.loc[first["datasetKey"] == INAT_DATASET, "recordedBy"].nunique())
    given = simulate_identifications(seen, ranked, people, seed, np.datetime64(first_day), np.datetime64(until))
    given.to_parquet(folder / IDENTIFICATIONS, index=False)
    build_taxa(first, now, species).to_parquet(folder / TAXA, index=False)
    return len(given)


def _shown(observations: pd.DataFrame, truth: Path) -> pd.Series:
    """Return the species that each observation's photo shows, the stated one where nothing else is known."""
    if not truth.is_file():
        return observations["species"]
    records = pd.read_parquet(truth, columns=["occurrenceID", "photo_id", "true_species"])
    number = pd.to_numeric(records["occurrenceID"].str.extract(r"/observations/(\d+)$", expand=False))
    of_record = records.assign(number=number).dropna(subset=["number"]).drop_duplicates("number")
    of_photo = records.drop_duplicates("photo_id")
    shown = observations["id"].map(pd.Series(of_record["true_species"].array, index=of_record["number"]))
    mirrored = observations["mirror_of"].map(pd.Series(of_photo["true_species"].array, index=of_photo["photo_id"]))
    return pd.Series(shown.fillna(mirrored).fillna(observations["species"]))
